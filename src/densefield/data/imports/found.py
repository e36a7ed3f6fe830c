"""What a reader of a format finds: classes, images with their labels, and what it left out."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from densefield.checks import InputError, check, counted, likely, shown
from densefield.classes import ClassList, default_colors
from densefield.data.sample import IGNORED, read_target, trained_classes
from densefield.images.listing import Picture, below_here, list_pictures, picture_endings

Labels: TypeAlias = npt.NDArray[np.uint8]  # (H, W), class indices, 255 where nothing is known
Size: TypeAlias = tuple[int, int]  # height, width

_MOST_BYTES = 16 * 2**20  # of a list; COCO's names of training images take 2
_GROUND = ("background", "_background_")  # the second is labelme's


class Embedded(NamedTuple):
    """An image that lies inside an export: a file's bytes, and the ending it would have."""

    data: bytes
    ending: str


@dataclasses.dataclass(frozen=True)
class Item:
    """One image: its path below both folders without ending, its file, and its labels, drawn when they are asked for.

    `labels` takes the image's size; `size` is what the export says of it, and `where` that stands.
    """

    name: str
    image: Path | Embedded
    labels: Callable[[Size], Labels]
    where: str
    size: Size | None = None


@dataclasses.dataclass(frozen=True)
class Found:
    """All that a source holds; `left_out` counts what could not become labels, and grows while labels are drawn."""

    classes: ClassList
    items: Sequence[Item]
    left_out: Counter[str] = dataclasses.field(default_factory=Counter)


@dataclasses.dataclass(frozen=True)
class Asked:
    """What a person said besides the source: labels' names, where images lie, COCO as VOC; each format takes some."""

    classes: ClassList | None = None
    images: Path | None = None
    as_voc: bool = False


def chosen(found: Found, *, only: Path | None, without: Path | None) -> Found:
    """Those of the images that the list `only` names, less those of the list `without`."""
    items = list(found.items)
    for listed, flag in ((only, "--only"), (without, "--without")):
        if listed is not None:
            named = _names_in(listed)
            is_named = {item.name for item in items if {item.name, PurePosixPath(item.name).name} & named}
            check(bool(is_named), f"{flag}: {listed} names none of the images, such as {items[0].name}")
            items = [item for item in items if (item.name in is_named) == (flag == "--only")]
            check(bool(items), f"{flag}: {listed} leaves no image")
    found.left_out["image that the lists leave out"] += len(found.items) - len(items)
    return dataclasses.replace(found, items=items)


def _names_in(path: Path) -> set[str]:
    """The names in a list: a line, or its first word as in "2008_000002 -1"; of a path the last part without ending."""
    names: set[str] = set()
    endings = picture_endings()
    for line in read_lines(path):
        for text in (line, line.split()[0]):
            last = PurePosixPath(text)
            names.update((text, last.stem if last.suffix.lower() in endings else last.name))
    return names


def classes_of(names: Iterable[str], asked: Asked) -> ClassList:
    """The class list that was asked for, else the background and these names, in their order."""
    if asked.classes is not None:
        return trained_classes(asked.classes)
    others = tuple(dict.fromkeys(name for name in names if name not in _GROUND))
    check(len(others) <= 254, f"classes: {len(others)} labels; wanted at most 254 besides the background")
    return ClassList((_GROUND[0], *others), ((0, 0, 0), *default_colors(len(others))), ignore_declared=True)


def index_of(label: str, classes: ClassList, where: str) -> int:
    """The index of the class with this name; the background's goes by either of its names."""
    if label in _GROUND:
        return ground(classes)
    if label not in classes.names:
        raise InputError(f"{where}: the label {shown(label)} is not in the class list{likely(label, classes.names)}")
    return classes.names.index(label)


def ground(classes: ClassList) -> int:
    """What a pixel is that no shape covers: background, where there is such a class, else not labelled."""
    return next((classes.names.index(name) for name in _GROUND if name in classes.names), IGNORED)


def read_lines(path: Path) -> list[str]:
    """The lines of a list of names or labels, less blank ones; raises `InputError` naming the file."""
    try:
        with path.open("rb") as file:
            raw = file.read(_MOST_BYTES + 1)
        check(len(raw) <= _MOST_BYTES, f"{path}: longer than {_MOST_BYTES // 2**20} MiB, which is too long for a list")
        return [line.strip() for line in raw.decode("utf-8-sig").splitlines() if line.strip()]
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a text file in UTF-8") from error


def read_mask(mask: Picture, classes: ClassList, _: Size) -> Labels:
    """The class indices of a mask in a file; raises `InputError` where it holds what is no class."""
    return read_target(mask, classes)


def folder_of(source: Path, what: str) -> Path:
    """`source`, which is to be a folder; `what` it holds is for the message."""
    unpacked = " unpacked" if source.suffix.lower() in (".zip", ".tar", ".gz", ".tgz") else ""
    reason = "is a file" if source.exists() else f"no such folder{below_here(source)}"
    check(source.is_dir(), f"{source}: {reason}; wanted the{unpacked} folder that holds {what}")
    return source


def images_in(folder: Path, where: str, asked: Asked) -> dict[str, Path]:
    """The pictures in the folder where images usually lie, or in the one that was asked for, by their names."""
    if asked.images is None and not folder.is_dir():
        raise InputError(f"{where}: there is no {folder}; name the folder of the images with --images")
    listing = list_pictures(asked.images or folder, deep=True)
    return {listing.name(picture): picture.path for picture in listing.pictures}


def image_of(name: str, images: Mapping[str, Path], where: str) -> Path:
    """The image of this name."""
    if name not in images:
        raise InputError(f"{where}: no image {name} among {counted(len(images), 'picture')}; put it there")
    return images[name]


def below(home: Path, start: Path, text: str, where: str) -> Path:
    r"""The file that `text` names, seen from the folder `start`; raises where it lies outside of `home`.

    Tools on Windows write "..\images\a.jpg".
    """
    path = Path(os.path.abspath(start / text.replace("\\", "/")))
    check(
        path.is_relative_to(os.path.abspath(home)),
        f"{where}: {shown(text)} leads out of {home}; wanted a file inside it",
    )
    return path


def name_of(path: Path, home: Path) -> str:
    """The name of an image: its path below `home`, without ending."""
    return Path(os.path.abspath(path)).relative_to(os.path.abspath(home)).with_suffix("").as_posix()
