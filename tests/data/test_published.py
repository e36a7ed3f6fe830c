"""What published sets share: files looked for before work, ignored values, one line for what is wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from densefield.checks import InputError
from densefield.classes import ClassList
from densefield.data import Published
from densefield.data.published import Files, Origin, home_of

ORIGIN = Origin("Toys", "https://toys.example")
CLASSES = ClassList(("a", "b"), ((0, 0, 1), (0, 1, 0)), ignore_index=3, ignore_declared=True, values=(5, 9))


def files(home: Path, *names: str) -> list[Files]:
    return [Files(name, home / "images" / f"{name}.png", home / "masks" / f"{name}.png") for name in names]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "toys"
    for place in ("images", "masks"):
        (home / place).mkdir(parents=True)
        for name in "xy":
            Image.fromarray(np.array([[5, 9, 3, 4]], np.uint8)).save(home / place / f"{name}.png")
    return home


def test_values_become_indices_and_all_that_is_ignored_255(home: Path) -> None:
    pairs = Published(files(home, "y", "x"), CLASSES, ORIGIN, ignored=(4, 200))
    assert (len(pairs), pairs.names, pairs.images) == (2, ["y", "x"], [home / "images" / f"{n}.png" for n in "yx"])
    assert pairs.classes.ignore_index == 255
    assert [sample.target.tolist() for sample in pairs] == [[[0, 1, 255, 255]]] * 2
    assert pairs[0].target.dtype == np.uint8


def test_a_value_of_neither_is_named(home: Path) -> None:
    with pytest.raises(InputError, match=r"x\.png: holds label value 4, which Toys does not have; wanted the file as"):
        Published(files(home, "x"), CLASSES, ORIGIN)[0]


def test_files_and_folders_that_are_missing_are_named_before_any_is_read(home: Path) -> None:
    with pytest.raises(InputError, match=r"images.z\.png: no such file; 2 of the split's 4 images .*toys\.example"):
        Published(files(home, "x", "z", "y", "v"), CLASSES, ORIGIN)
    (home / "masks" / "y.png").rename(home / "masks" / "Y.png")
    with pytest.raises(InputError, match=r"masks.y\.png: no such file; 1 of the split's 2 masks .*Toys is to be had"):
        Published(files(home, "x", "y"), CLASSES, ORIGIN)
    (home / "images").rename(home / "elsewhere")
    with pytest.raises(InputError, match=r"images.x\.png: no such file; 1 of the split's 1 images"):
        Published(files(home, "x"), CLASSES, ORIGIN)


def test_a_root_too_high_or_half_unpacked_is_named(home: Path) -> None:
    assert home_of(home, ("images", "masks"), ORIGIN) == home
    with pytest.raises(InputError, match=rf"^data\.root: .*holds no images, no masks; .*they lie in {home}, so give"):
        home_of(home.parent, ("images", "masks"), ORIGIN)
    with pytest.raises(InputError, match=r"holds no lists; wanted images, lists; unpack all of it; Toys is to be had"):
        home_of(home, ("images", "lists"), ORIGIN)
    with pytest.raises(InputError, match=r"x\.png: is a file; wanted the folder that holds images; Toys"):
        home_of(home / "images" / "x.png", ("images",), ORIGIN)
