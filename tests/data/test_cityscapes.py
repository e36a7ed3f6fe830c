"""A miniature of Cityscapes, laid out as both archives are: pairs, classes, masks pixel for pixel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from densefield.checks import InputError
from densefield.data import cityscapes
from densefield.runs.files import validated

# trainId, name and color by label id, as in the table of the authors' scripts; the rest have no trainId.
PUBLISHED = {
    7: (0, "road", (128, 64, 128)),
    8: (1, "sidewalk", (244, 35, 232)),
    11: (2, "building", (70, 70, 70)),
    12: (3, "wall", (102, 102, 156)),
    13: (4, "fence", (190, 153, 153)),
    17: (5, "pole", (153, 153, 153)),
    19: (6, "traffic light", (250, 170, 30)),
    20: (7, "traffic sign", (220, 220, 0)),
    21: (8, "vegetation", (107, 142, 35)),
    22: (9, "terrain", (152, 251, 152)),
    23: (10, "sky", (70, 130, 180)),
    24: (11, "person", (220, 20, 60)),
    25: (12, "rider", (255, 0, 0)),
    26: (13, "car", (0, 0, 142)),
    27: (14, "truck", (0, 0, 70)),
    28: (15, "bus", (0, 60, 100)),
    31: (16, "train", (0, 80, 100)),
    32: (17, "motorcycle", (0, 0, 230)),
    33: (18, "bicycle", (119, 11, 32)),
}
FRAMES = {
    "train": ["aachen/aachen_000000_000019", "aachen/aachen_000001_000019", "zurich/zurich_000121_000019"],
    "val": ["lindau/lindau_000058_000019"],
    "test": ["berlin/berlin_000000_000019"],
}


def ids_of(frame: str) -> np.ndarray:
    """Every label id, drawn from the frame's name."""
    return np.random.default_rng(len(frame) * 100 + int(frame[-13])).permutation(np.arange(40) % 34).reshape(5, 8)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for split, frames in FRAMES.items():
        for frame in frames:
            for room in ("leftImg8bit", "gtFine"):
                (tmp_path / room / split / frame).parent.mkdir(parents=True, exist_ok=True)
            ids = ids_of(frame).astype(np.uint8) * (split != "test")
            Image.new("RGB", (8, 5), (1, 2, 3)).save(tmp_path / "leftImg8bit" / split / f"{frame}_leftImg8bit.png")
            labels = tmp_path / "gtFine" / split / f"{frame}_gtFine"
            Image.fromarray(ids).save(f"{labels}_labelIds.png")
            Image.fromarray(ids * 7).save(f"{labels}_instanceIds.png")
            Image.new("RGB", (8, 5)).save(f"{labels}_color.png")
            Path(f"{labels}_polygons.json").write_text("{}")
            (tmp_path / "gtFine" / split / frame).with_name("._macos_gtFine_labelIds.png").write_text("")
    (tmp_path / "license.txt").write_text("")
    return tmp_path


@pytest.mark.parametrize("split", ["train", "val"])
def test_the_label_ids_become_the_19_classes_and_the_rest_is_ignored(root: Path, split: str) -> None:
    pairs = cityscapes(split, root=str(root))
    assert pairs.names == [frame.partition("/")[2] for frame in FRAMES[split]]
    for frame, sample in zip(FRAMES[split], pairs, strict=True):
        wanted = [[PUBLISHED[value][0] if value in PUBLISHED else 255 for value in row] for row in ids_of(frame)]
        assert sample.target.tolist() == wanted
        assert sample.image.tolist() == [[[1, 2, 3]] * 8] * 5
        assert set(np.unique(sample.target)) == {*range(19), 255}


def test_the_classes_and_colors_are_the_published_ones(root: Path) -> None:
    classes = cityscapes(root=str(root)).classes
    assert list(enumerate(classes.names)) == [(train_id, name) for train_id, name, _ in PUBLISHED.values()]
    assert classes.colors == tuple(color for _, _, color in PUBLISHED.values())
    assert (classes.ignore_index, classes.palette()[255].tolist()) == (255, [0, 0, 0])


def test_the_blank_labels_of_test_are_refused(root: Path) -> None:
    with pytest.raises(InputError, match=r"wanted train or val of Cityscapes, received 'test'; its labels are not pub"):
        cityscapes("test", root=str(root))
    with pytest.raises(InputError, match=r"received 'dev'$"):
        cityscapes("dev", root=str(root))


def test_what_is_missing_is_named_with_where_the_set_is_to_be_had(root: Path) -> None:
    (root / "leftImg8bit" / "train" / f"{FRAMES['train'][1]}_leftImg8bit.png").unlink()
    with pytest.raises(
        InputError, match=r"aachen_000001_000019_leftImg8bit\.png: no such file; 1 of the split's 3 ima"
    ):
        cityscapes(root=str(root))
    (root / "gtFine" / "val" / f"{FRAMES['val'][0]}_gtFine_labelIds.png").unlink()
    with pytest.raises(InputError, match=r"_labelIds\.png: no such file; .*www\.cityscapes-dataset\.com/downloads/"):
        cityscapes("val", root=str(root))
    (root / "leftImg8bit" / "val" / f"{FRAMES['val'][0]}_leftImg8bit.png").unlink()
    with pytest.raises(InputError, match=r"val: holds no CITY/X_leftImg8bit\.png; unpack all of it; Cityscapes is to"):
        cityscapes("val", root=str(root))
    (root / "gtFine").rename(root / "gtCoarse")
    with pytest.raises(InputError, match=r"^data\.root: .* holds no gtFine/val; .*gtFine_trainvaltest\.zip\)"):
        cityscapes("val", root=str(root))
    with pytest.raises(InputError, match=r"^data\.root: .*no such folder; wanted the folder that holds leftImg8bit/tr"):
        cityscapes(root=str(root / "nowhere"))


def test_files_of_other_labels_are_refused(root: Path) -> None:
    path = root / "gtFine" / "val" / f"{FRAMES['val'][0]}_gtFine_labelIds.png"
    for values, shown in ((np.full((5, 8), 255, np.uint8), "255"), (np.full((5, 8), 26001, np.uint16), "26001")):
        Image.fromarray(values).save(path)
        with pytest.raises(InputError, match=rf"_labelIds\.png: holds label value {shown}, which Cityscapes does not"):
            cityscapes("val", root=str(root))[0]


def test_a_recipe_names_it(root: Path) -> None:
    plain = {"name": "streets", "network": {"kind": "unet"}, "stages": [{"epochs": 1}]}
    recipe = validated({**plain, "data": {"kind": "cityscapes", "root": str(root)}}, "streets.yaml")
    assert [len(recipe.pairs(split)) for split in ("train", "val")] == [3, 1]
