"""CVAT's "Segmentation mask 1.1": masks in the label map's colors, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

MAP = "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncat:250,50,83::\nignored:224,224,192::\ndog:36,179,83::\n"
COLORS = np.array([[0, 0, 0], [250, 50, 83], [36, 179, 83], [224, 224, 192]], np.uint8)
MASK = np.array([[0, 1, 1, 3], [2, 2, 0, 0]])


@pytest.fixture
def source(tmp_path: Path, photo: Any) -> Path:
    """Two images, one in a folder of its own, as CVAT exports them together with images."""
    home = tmp_path / "src"
    (home / "ImageSets" / "Segmentation").mkdir(parents=True)
    (home / "ImageSets" / "Segmentation" / "default.txt").write_text("a\ntrip/b\n")
    (home / "labelmap.txt").write_text(MAP)
    for name, mask in (("a", MASK), ("trip/b", MASK[::-1])):
        photo(home / "JPEGImages" / f"{name}.jpg", (2, 4))
        for kind in ("SegmentationClass", "SegmentationObject"):
            path = home / kind / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(COLORS[mask]).save(path)
    return home


def test_colors_become_the_label_maps_order(source: Path, imported: Any) -> None:
    classes, masks, _ = imported(source, "cvat")
    assert classes.names == ("background", "cat", "dog")
    assert classes.colors[1] == (250, 50, 83)
    wanted = np.array([0, 1, 2, 255])[MASK]
    assert masks["a"].tolist() == wanted.tolist()
    assert masks["trip/b"].tolist() == wanted[::-1].tolist()


def test_grey_masks_hold_the_places_in_the_label_map_and_images_may_lie_elsewhere(source: Path, imported: Any) -> None:
    grey = np.array([[0, 1, 1, 0], [2, 2, 0, 0]], np.uint8)
    Image.fromarray(grey).save(source / "SegmentationClass" / "a.png")
    (source / "JPEGImages").rename(source.parent / "photos")
    _, masks, _ = imported(source, "cvat", "--images", str(source.parent / "photos"))
    assert masks["a"].tolist() == grey.tolist()


def test_black_that_no_label_has_is_not_labelled(source: Path, imported: Any) -> None:
    (source / "labelmap.txt").write_text(MAP.replace("background:0,0,0::\n", ""))
    classes, masks, _ = imported(source, "cvat")
    assert classes.names == ("cat", "dog")
    assert masks["a"].tolist() == np.array([255, 0, 1, 255])[MASK].tolist()


@pytest.mark.parametrize(
    ("labels", "line"),
    [
        (MAP.replace("36,179,83", "250,50,83"), "(250, 50, 83) stands there twice"),
        (MAP.replace("dog:36,179,83::\n", ""), "holds the color [36, 179, 83], which the class list does not name"),
        (MAP.replace("36,179,83", "36,179"), "line 5: wanted label:red,green,blue::, received 'dog:36,179::'"),
        (MAP.replace("36,179,83", "36,179,300"), "line 5: wanted label:red,green,blue::"),
        (MAP.replace("36,179,83", "36,179," + "8" * 5000), "line 5: wanted label:red,green,blue::"),
        (MAP.replace("dog", "cat"), "line 5: 'cat' stands there twice"),
        (None, "labelmap.txt: cannot be read"),
    ],
)
def test_a_label_map_that_cannot_be_is_one_line(source: Path, refused: Any, labels: str | None, line: str) -> None:
    (source / "labelmap.txt").unlink()
    if labels is not None:
        (source / "labelmap.txt").write_text(labels)
    assert line in refused(source, "cvat")


def test_other_slips_are_one_line(source: Path, photo: Any, refused: Any) -> None:
    photo(source / "JPEGImages" / "a.jpg", (4, 2))
    assert "labels 4x2 pixels, its image a has 2x4; is the image turned" in refused(source, "cvat")
    (source / "JPEGImages" / "a.jpg").unlink()
    assert "SegmentationClass/a.png: no image a among 1 picture; put it there" in refused(source, "cvat")
    (source / "JPEGImages").rename(source / "photos")
    assert "exported without images: there is no" in refused(source, "cvat")
    assert "--classes: format cvat has no use for it; wanted only with labelme" in refused(
        source, "cvat", "--classes", str(_listed(source))
    )
    assert "wanted the unpacked folder" in refused(source.with_suffix(".zip"), "cvat")


def _listed(source: Path) -> Path:
    (source / "mine.yaml").write_text("[a, b]\n")
    return source / "mine.yaml"
