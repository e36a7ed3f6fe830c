"""A miniature of Geometric Context from Videos: pairs, classes, masks pixel for pixel, no video in two splits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from densefield.checks import InputError
from densefield.data import gatech
from densefield.runs.files import validated

VIDEOS = ["00", "01", "07", "10", "2"]  # the last in the order of names, though not of numbers
CLASSES = {
    "sky": (255, 0, 0),
    "ground": (0, 130, 180),
    "solid": (0, 255, 0),
    "porous": (255, 255, 0),
    "cars": (120, 0, 255),
    "humans": (255, 0, 255),
    "vertical mix": (160, 160, 160),
    "main mix": (64, 64, 64),
}


def labels_of(name: str) -> np.ndarray:
    return np.roll(np.arange(12, dtype=np.uint8) % 9, int(name[-1])).reshape(3, 4)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    names = {
        "Images": [f"{video}_{frame:04}" for video in VIDEOS for frame in (1, 2, 3)],
        "Images_test": ["01_0001", "99_0001"],
    }
    for room, inside in names.items():
        for place in ("Original", "Ground_Truth"):
            (tmp_path / room / place).mkdir(parents=True)
        for name in inside:
            Image.new("RGB", (4, 3), (9, 8, 7)).save(tmp_path / room / "Original" / f"{name}.png")
            Image.fromarray(labels_of(name)).save(tmp_path / room / "Ground_Truth" / f"{name}.png")
    return tmp_path


def test_0_is_ignored_and_1_to_8_are_the_classes(root: Path) -> None:
    for split in ("train", "val", "test"):
        for sample in gatech(split, root=str(root)):
            wanted = labels_of(sample.name).astype(int) - 1
            assert sample.target.tolist() == np.where(wanted < 0, 255, wanted).tolist()
            assert sample.image.tolist() == [[[9, 8, 7]] * 4] * 3
    classes = gatech(root=str(root)).classes
    assert dict(zip(classes.names, classes.colors, strict=True)) == CLASSES
    assert (classes.ignore_index, classes.palette()[255].tolist()) == (255, [255, 128, 0])


def test_the_last_quarter_of_the_videos_is_validated_on(root: Path) -> None:
    train, val, test = (gatech(split, root=str(root)).names for split in ("train", "val", "test"))
    assert train == [f"{video}_000{frame}" for video in VIDEOS[:3] for frame in (1, 2, 3)]
    assert val == [f"{video}_000{frame}" for video in VIDEOS[3:] for frame in (1, 2, 3)]
    assert test == ["01_0001", "99_0001"]


def test_masks_in_the_published_colors_read_alike(root: Path) -> None:
    table = np.array([(255, 128, 0), *CLASSES.values()], np.uint8)
    for path in (root / "Images" / "Ground_Truth").iterdir():
        Image.fromarray(table[labels_of(path.stem)]).save(path)
    test_0_is_ignored_and_1_to_8_are_the_classes(root)


def test_bad_input_is_named_with_where_the_set_is_to_be_had(root: Path) -> None:
    with pytest.raises(InputError, match=r"split: wanted train, val or test, received 'dev'"):
        gatech("dev", root=str(root))
    path = root / "Images_test" / "Ground_Truth" / "99_0001.png"
    Image.fromarray(np.full((3, 4), 9, np.uint8)).save(path)
    with pytest.raises(
        InputError, match=r"99_0001\.png: holds label value 9, which Geometric Context from Videos does"
    ):
        gatech("test", root=str(root))[1]
    path.unlink()
    with pytest.raises(
        InputError, match=r"Original.99_0001\.png: has no partner \(1 such file\); unpack .*gatech\.edu"
    ):
        gatech("test", root=str(root))
    for place in ("Original", "Ground_Truth"):
        (root / "Images_test" / place / "01_0001.png").rename(root / "Images_test" / place / "frame.png")
        (root / "Images_test" / place / "99_0001.png").unlink(missing_ok=True)
    with pytest.raises(InputError, match=r"frame\.png: its name says no video; wanted VIDEO_FRAME"):
        gatech("test", root=str(root))
    for path in (root / "Images").glob("*/[!2]*.png"):
        path.unlink()
    with pytest.raises(InputError, match="holds one video; wanted two at least"):
        gatech(root=str(root))
    (root / "Images" / "Ground_Truth").rename(root / "Labels")
    with pytest.raises(InputError, match=r"^data\.root: .* holds no Images/Ground_Truth; .*videogeometriccontext/"):
        gatech(root=str(root))


def test_a_recipe_names_it(root: Path) -> None:
    plain = {"name": "videos", "network": {"kind": "unet"}, "stages": [{"epochs": 1}]}
    recipe = validated({**plain, "data": {"kind": "gatech", "root": str(root)}}, "videos.yaml")
    assert [len(recipe.pairs(split)) for split in ("train", "val", "test")] == [9, 6, 2]
