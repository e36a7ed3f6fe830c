"""What cannot be trained is said in one line before training begins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image

from densefield.checks import InputError
from densefield.recipes.files import validated
from densefield.recipes.trainable import check_trainable


def check(root: Path, **stage: Any) -> None:
    plain = {
        "name": "own",
        "network": {"kind": "unet", "padding": "same", "width": 1},
        "data": {"kind": "folder", "root": str(root), "val": 0.3},
        "stages": [{"epochs": 1, "batch_size": 2, **stage}],
    }
    recipe = validated(plain, "own")
    check_trainable(recipe, recipe.data.build("train"), recipe.data.build("val"))


def folder(root: Path, *sizes: tuple[int, int], value: int = 0) -> Path:
    """Images of these (height, width) and masks that hold `value` alone."""
    for place in ("images", "masks"):
        (root / place).mkdir(parents=True)
    for number, size in enumerate(sizes):
        Image.fromarray(np.zeros((*size, 3), np.uint8)).save(root / "images" / f"{number}.png")
        Image.fromarray(np.full(size, value, np.uint8)).save(root / "masks" / f"{number}.png")
    (root / "classes.yaml").write_text("classes: [ground, thing]\nignore_index: 255\n")
    return root


def test_images_of_several_sizes_fit_no_batch_unless_cropped(tmp_path: Path) -> None:
    root = folder(tmp_path, (8, 8), (8, 9), (8, 10), (8, 11), (9, 9))
    with pytest.raises(InputError, match=r"training images have \d sizes \(8x.*crop \[height, width\], or b"):
        check(root)
    check(root, batch_size=1)
    check(root, augmentation={"crop": [4, 4], "scale": [0.5, 2.0], "dihedral": True})


def test_oblong_images_are_not_turned_within_a_batch(tmp_path: Path) -> None:
    root = folder(tmp_path, *[(8, 12)] * 4)
    check(root)
    with pytest.raises(InputError, match=r"stages\.0\.augmentation\.dihedral: turns images of 8x12"):
        check(root, augmentation={"dihedral": True})
    check(root, augmentation={"dihedral": True}, batch_size=1)


def test_scaled_images_fit_no_batch_unless_cropped(tmp_path: Path) -> None:
    root = folder(tmp_path, *[(8, 8)] * 4)
    with pytest.raises(InputError, match=r"stages\.0\.augmentation\.scale: makes images of several sizes"):
        check(root, augmentation={"scale": [0.75, 1.5]})
    check(root, augmentation={"scale": [2.0, 2.0]})


def test_a_turned_photograph_has_the_size_that_it_is_seen_in(tmp_path: Path) -> None:
    root = folder(tmp_path, *[(8, 12)] * 4)
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = 6
    for path in (root / "images").iterdir():
        Image.fromarray(np.zeros((12, 8, 3), np.uint8)).save(path, exif=turned)
    with pytest.raises(InputError, match="turns images of 8x12"):
        check(root, augmentation={"dihedral": True})


def test_a_split_without_a_labelled_pixel_is_named(tmp_path: Path) -> None:
    root = folder(tmp_path, *[(8, 8)] * 4, value=255)
    with pytest.raises(InputError, match="no pixel of the 3 training images is labelled"):
        check(root)
    for number in range(4):
        Image.fromarray(np.zeros((8, 8), np.uint8)).save(root / "masks" / f"{number}.png")
    check(root)
