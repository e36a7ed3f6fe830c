"""What cannot be trained is said in one line before training begins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image

from densefield.checks import InputError
from densefield.classes import ClassList
from densefield.data.audit import audit
from densefield.runs.files import validated
from densefield.runs.trainable import check_trainable


def check(root: Path, *, recipe: dict[str, Any] | None = None, **stage: Any) -> None:
    plain = {
        "name": "own",
        "network": {"kind": "unet", "padding": "same", "width": 1},
        "data": {"kind": "folder", "root": str(root), "val": 0.3},
        "stages": [{"epochs": 1, "batch_size": 2, **stage}],
        **(recipe or {}),
    }
    chosen = validated(plain, "own")
    check_trainable(chosen, chosen.pairs("train"), chosen.pairs("val"))


def folder(root: Path, *sizes: tuple[int, int], value: int | None = None) -> Path:
    """Images of these (height, width) and masks of both classes, or of `value` alone."""
    for place in ("images", "masks"):
        (root / place).mkdir(parents=True)
    for number, size in enumerate(sizes):
        Image.fromarray(np.zeros((*size, 3), np.uint8)).save(root / "images" / f"{number}.png")
        write_mask(root / "masks" / f"{number}.png", size, value)
    (root / "classes.yaml").write_text("classes: [ground, thing]\nignore_index: 255\n")
    return root


def write_mask(path: Path, size: tuple[int, int], value: int | None = None) -> None:
    mask = np.full(size, value or 0, np.uint8)
    mask[0, 0] = 1 if value is None else value
    Image.fromarray(mask).save(path)


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
        write_mask(root / "masks" / f"{number}.png", (8, 8))
    check(root)


def test_a_single_class_is_refused_as_the_audit_does(tmp_path: Path) -> None:
    root = folder(tmp_path, *[(8, 8)] * 4, value=0)
    line = r"the only class in the 3 training images is 'ground'; wanted two classes at least: 'densefield data check'"
    with pytest.raises(InputError, match=line):
        check(root)
    assert not audit(root / "images", root / "masks", ClassList.read(root / "classes.yaml")).good
    # What was meant as the object may be declared as ignored.
    half = np.repeat(np.array([[0, 255]], np.uint8), 8, axis=0).repeat(4, axis=1)
    for number in range(4):
        Image.fromarray(half).save(root / "masks" / f"{number}.png")
    with pytest.raises(InputError, match=r"the only class .* 'ground' \(50 % of their pixels are ignored\)"):
        check(root)
    # Embeddings that learn from superpixels alone look at no class.
    superpixels = {"kind": "embedding_filter", "pair_labels": "superpixels", "width": 1, "dimension": 1}
    check(root, recipe={"refinement": superpixels, "loss": {"cross_entropy": 0}})


def test_a_missing_root_is_named_and_not_the_class_list_in_it(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"data\.root: .*nowhere: no such folder; wanted the folder that holds"):
        check(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"data\.root: nowhere: no such folder below .*, where the"):
        check(Path("nowhere"))
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"data\.root: .*file: is a file"):
        check(tmp_path / "file")


def test_more_processes_than_images_are_refused(tmp_path: Path) -> None:
    recipe = validated(
        {
            "name": "own",
            "network": {"kind": "unet", "padding": "same", "width": 1},
            "data": {"kind": "folder", "root": str(folder(tmp_path, *[(8, 8)] * 6)), "val": 0.3},
            "stages": [{"epochs": 1, "batch_size": 2}],
        },
        "own",
    )
    train, val = recipe.pairs("train"), recipe.pairs("val")
    assert len(val) < len(train)
    check_trainable(recipe, train, val, len(val))
    with pytest.raises(InputError, match=f"--devices: {len(val)} validation images? for {len(train)} processes"):
        check_trainable(recipe, train, val, len(train))
    with pytest.raises(InputError, match=f"--devices: {len(train)} training images for 9 processes"):
        check_trainable(recipe, train, val, 9)
