"""COCO's instances: polygons, runs and crowds against loops and pycocotools, VOC's classes, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from densefield.data.imports.shapes import polygon
from drawing import seeded

SIZE = (20, 30)
CROWD = np.random.default_rng(seeded(6)).random(SIZE) < 0.3
CATEGORIES = {1: "person", 2: "bicycle", 17: "cat", 28: "umbrella", 90: "toothbrush"}


def runs(mask: np.ndarray) -> list[int]:
    """Lengths of 0 and 1 in turn down the columns, by a loop."""
    counts, last = [0], False
    for value in mask.T.ravel():
        if value != last:
            counts.append(0)
            last = value
        counts[-1] += 1
    return counts


def annotation(image: int, category: int, segmentation: Any, crowd: int = 0) -> dict[str, Any]:
    """As COCO 2017 has it."""
    plain = {"id": 1, "image_id": image, "category_id": category, "iscrowd": crowd, "area": 1.0}
    return {**plain, "bbox": [0, 0, 1, 1], "segmentation": segmentation}


SQUARE = [0, 0, 10, 0, 10, 10, 0, 10]


@pytest.fixture
def source(tmp_path: Path, photo: Any) -> Path:
    """COCO as it unpacks."""
    for name in ("000000000009.jpg", "000000000025.jpg"):
        photo(tmp_path / "src" / "val2017" / name, SIZE)
    return tmp_path / "src"


def write(source: Path, *annotations: Any, names: dict[int, str] = CATEGORIES, **more: Any) -> Path:
    path = source / "annotations" / "instances_val2017.json"
    path.parent.mkdir(exist_ok=True)
    images = [
        {"license": 1, "file_name": f"{number:012}.jpg", "height": SIZE[0], "width": SIZE[1], "id": number}
        for number in (9, 25)
    ]
    categories = [{"supercategory": "x", "id": number, "name": name} for number, name in reversed(names.items())]
    plain = {"info": {}, "licenses": [], "images": images, "annotations": annotations, "categories": categories}
    path.write_text(json.dumps({**plain, **more}))
    return path


def test_polygons_runs_and_crowds_pixel_for_pixel_and_later_ones_on_top(source: Path, imported: Any) -> None:
    path = write(
        source,
        annotation(9, 17, [SQUARE, [20, 10, 30, 10, 30, 20, 20, 20]]),
        annotation(9, 90, [[5, 5, 15, 5, 15, 15, 5, 15]]),
        annotation(25, 1, {"size": list(SIZE), "counts": runs(CROWD)}, crowd=1),
        annotation(9, 28, []),
    )
    classes, masks, said = imported(path, "coco")
    assert classes.names == ("background", *CATEGORIES.values())
    wanted = np.zeros(SIZE, int)
    wanted[:10, :10] = 3
    wanted[10:, 20:] = 3
    wanted[5:15, 5:15] = 5
    assert np.array_equal(masks["000000000009"], wanted)
    assert np.array_equal(masks["000000000025"], CROWD)
    assert "left out: 1 × annotation without a segmentation" in said


def test_as_voc_has_vocs_order_and_ignores_what_objects_share(source: Path, imported: Any) -> None:
    write(
        source,
        annotation(9, 17, [SQUARE]),
        annotation(9, 1, [[5, 5, 15, 5, 15, 15, 5, 15]]),
        annotation(9, 28, [SQUARE]),
        annotation(25, 2, [SQUARE, SQUARE]),
    )
    classes, masks, said = imported(source / "annotations", "coco", "--as-voc")
    assert (len(classes), classes.names[8], classes.colors[8], classes.colors[20]) == (
        21,
        "cat",
        (64, 0, 0),
        (0, 64, 128),
    )
    wanted = np.zeros(SIZE, int)
    wanted[:10, :10] = 8
    wanted[5:15, 5:15] = 15
    wanted[5:10, 5:10] = 255
    assert np.array_equal(masks["000000000009"], wanted)
    assert masks["000000000025"].max() == 2
    assert "left out: 1 × annotation of a category that VOC does not have" in said


def test_vocs_classes_are_torchvisions() -> None:
    """Its reference training maps COCO's ids so, 0 for the background."""
    from densefield.data.imports.coco import _AS_VOC

    assert list(_AS_VOC) == [5, 2, 16, 9, 44, 6, 3, 17, 62, 21, 67, 18, 19, 4, 1, 64, 20, 63, 7, 72]


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools' own
def test_polygons_are_within_half_a_percent_of_pycocotools() -> None:
    """Outlines of about the size and wealth of COCO's; what differs is counted over the area of all together."""
    masks = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(seeded(7))
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    differing = area = 0
    for _ in range(50):
        radius = rng.uniform(60, 150) * (1 + 0.15 * np.sin(rng.integers(2, 6) * angles + rng.uniform(0, 6)))
        points = np.stack([320 + radius * np.cos(angles), 240 + radius * np.sin(angles)], 1).round(2)
        theirs = masks.decode(masks.frPyObjects([points.ravel().tolist()], 480, 640))[:, :, 0] > 0
        ours = np.zeros((480, 640), bool)
        ours[polygon(points, "x")((480, 640))] = True
        differing += np.count_nonzero(ours != theirs)
        area += np.count_nonzero(theirs)
    assert differing < 0.005 * area


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        (annotation(9, 1, [[0, 0, 9, 9]]), "annotations[0]: segmentation: a polygon of 2 points; wanted at least 3"),
        (annotation(9, 1, [[0, 0, 9, 9, 40, 5]]), "the point (40, 5) lies outside of the image, which has 30x20"),
        (annotation(9, 1, [[0, 0, 9, 9, 4]]), "wanted pairs of finite numbers"),
        (annotation(9, 1, "x"), "wanted a list of polygons, or an object with counts"),
        (annotation(9, 1, {"size": [20, 30], "counts": [1, 2]}), "its runs do not fill 30x20 pixels"),
        (annotation(9, 1, {"size": [20, 30], "counts": [601, -1]}), "its runs do not fill 30x20 pixels"),
        (annotation(9, 1, {"size": [20, 30], "counts": "~"}), "holds '~', wanted letters from '0' to 'o'"),
        (annotation(9, 1, {"size": [30, 20], "counts": [600]}), "size: (30.0, 20.0) is not the image's"),
        (annotation(9, 1, {"size": [20, 30]}), "counts: wanted text or a list"),
        (annotation(9, 5, [SQUARE]), "there is no category 5"),
        (annotation(8, 1, [SQUARE]), "there is no image 8"),
        ({"image_id": "9"}, "annotations[0]: image_id: wanted a whole number, received '9'"),
    ],
)
def test_a_bad_annotation_is_one_line(source: Path, refused: Any, wrong: Any, line: str) -> None:
    assert line in refused(write(source, wrong), "coco")


def test_other_slips_are_one_line(source: Path, tmp_path: Path, refused: Any) -> None:
    path = write(source, annotation(9, 1, [SQUARE]), names={**CATEGORIES, 2: "bike"})
    assert "--as-voc: category 2 is 'bike', wanted COCO's own: 'bicycle'" in refused(path, "coco", "--as-voc")
    (tmp_path / "mine.yaml").write_text("[background, person, cat]\n")
    assert "the label 'bike' is not in the class list" in refused(
        path, "coco", "--classes", str(tmp_path / "mine.yaml")
    )
    both = ("--as-voc", "--classes", str(tmp_path / "mine.yaml"))
    assert "--as-voc: names the classes itself; leave out --classes" in refused(path, "coco", *both)
    climbing = [{"id": 9, "file_name": "../../x.jpg", "height": 20, "width": 30}]
    assert "leads out of" in refused(write(source, images=climbing), "coco")
    assert "holds 0 images" in refused(write(source, images=[]), "coco")
    twice = [{"id": 9, "file_name": "000000000009.jpg", "height": 20, "width": 30}] * 2
    assert "images[1]: the id 9 stands there twice" in refused(write(source, images=twice), "coco")
    endless = [{"id": 9, "file_name": "9" * 5000 + ".jpg", "height": 20, "width": 30}]
    assert "no image '9999" in refused(write(source, images=endless), "coco")
    (source / "val2017").rename(source / "photos")
    assert "name the folder of the images with --images" in refused(write(source), "coco")
