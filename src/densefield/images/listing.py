"""Which files of a folder are pictures: one rule for training, checking, predicting and refining.

A picture is a file, hidden ones aside, whose ending Pillow reads as pixels (no PDF, EPS, video or data format). Each
page of a TIFF stack is a picture of its own, named NAME.0001, NAME.0002 ...; of an animation the first frame is read.
Whatever is left out is counted, so that a command can say it.
"""

from __future__ import annotations

import dataclasses
import os
import struct
from collections import Counter, deque
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from PIL import Image

from densefield.checks import InputError, check

_NO_PIXELS = ("BUFR", "EPS", "GRIB", "HDF5", "MPEG", "WMF")  # Pillow knows them by name, and decodes none of them here
_STACKS = (".tif", ".tiff")
_ANIMATIONS = (".gif", ".webp", ".apng", ".avif", ".avifs", ".fli", ".flc")
_MOST_PAGES = 1 << 20  # a damaged file may chain its directories without end
_SMALLER_OR_MASK = 1 | 4  # bits of TIFF's NewSubfileType: a reduced copy, a transparency mask


@dataclasses.dataclass(frozen=True, order=True)
class Picture:
    """One picture: a file, or a page of it (counted from 1) where the file is a stack."""

    path: Path
    page: int | None = None

    @property
    def stem(self) -> str:
        """The name without ending, with the page: "scan.0007"."""
        return self.path.stem if self.page is None else f"{self.path.stem}.{self.page:04}"

    def __str__(self) -> str:
        return str(self.path) if self.page is None else f"{self.path}, page {self.page}"


@dataclasses.dataclass(frozen=True)
class Listing:
    """What a folder holds: its pictures in order of name, folders that could not be read, and what else there is."""

    folder: Path
    pictures: tuple[Picture, ...]
    unreadable: tuple[Path, ...]
    others: dict[str, int]  # how many of each kind; {s} in its name is for more than one

    def name(self, picture: Picture) -> str:
        """The picture's path below the folder without ending, with "/" on every system."""
        return (picture.path.parent.relative_to(self.folder) / picture.stem).as_posix()

    def left_out(self) -> str:
        """What is no picture, counted: "2 .heic files, 1 sub-folder"; empty where there is nothing of the kind."""
        return ", ".join(f"{count} {what.format(s='s' * (count > 1))}" for what, count in sorted(self.others.items()))


def picture_endings() -> set[str]:
    """The endings of the files that count as pictures, in lower case with their dots."""
    Image.init()
    known = Image.registered_extensions().items()
    return {ending for ending, format in known if format in Image.OPEN and format not in _NO_PIXELS}


def pictures_of(path: Path) -> list[Picture]:
    """The picture in the file at `path`; of a TIFF stack one a page."""
    pages = _pages(path) if path.suffix.lower() in _STACKS else []
    return [Picture(path, page) for page in pages] if len(pages) > 1 else [Picture(path)]


def list_pictures(folder: str | os.PathLike[str], what: str = "images", *, deep: bool = False) -> Listing:
    """The pictures in `folder`, with `deep` also in the folders below; `what` they are is for messages.

    Links are followed, but no folder is listed twice. Raises `InputError` where the folder is missing, cannot be read
    or holds no picture.
    """
    folder = Path(folder)
    if not folder.is_dir():
        reason = "is a file" if folder.exists() else f"no such folder{below_here(folder)}"
        raise InputError(f"{folder}: {reason}; wanted the folder that holds the {what}")
    endings, others = picture_endings(), Counter[str]()
    pictures: list[Picture] = []
    unreadable: list[Path] = []
    for place, entries in _walk(folder, unreadable, others, deep=deep):
        for entry in entries:
            path, ending = place / entry.name, Path(entry.name).suffix.lower()
            if entry.name.startswith("."):
                others["hidden file{s}"] += 1
            elif ending not in endings:
                others[f"{_literal(ending)} file{{s}}" if ending else "file{s} without ending"] += 1
            elif os.path.isfile(path) or not os.path.exists(path):
                # A link that leads nowhere is listed: it fails by its name when it is read.
                pictures += pictures_of(path)
                if ending in _ANIMATIONS and _is_animated(path):
                    others["animation{s} after the first frame"] += 1
            else:
                others["special file{s} (pipe, device)"] += 1
    listing = Listing(folder, tuple(sorted(pictures)), tuple(unreadable), dict(others))
    there = f", only {listing.left_out()}" if others else ""
    where = "" if deep else ", directly inside it"
    wanted = f"wanted {what} as PNG, JPEG, TIFF or another format that Pillow reads{where}"
    check(bool(pictures), f"{folder}: holds no picture{there}; {wanted}")
    return listing


def _walk(
    folder: Path, unreadable: list[Path], others: Counter[str], *, deep: bool
) -> Iterator[tuple[Path, list[os.DirEntry[str]]]]:
    """Each folder with what it holds besides folders; those behind links last, so that each keeps its own name."""
    waiting, links, seen = deque([folder]), deque[Path](), set[Path]()
    while waiting or links:
        place = waiting.popleft() if waiting else links.popleft()
        real = place.resolve()
        if real in seen:
            others["link{s} to a folder listed already"] += 1
            continue
        seen.add(real)
        try:
            with os.scandir(place) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            if place == folder:
                raise InputError(f"{folder}: cannot be read ({error.strerror}); check its permissions") from error
            unreadable.append(place)
            continue
        files = []
        for entry in entries:
            if not os.path.isdir(entry.path):
                files.append(entry)
            elif entry.name.startswith(".") or entry.name == "__MACOSX":  # what macOS puts into archives
                others["hidden folder{s}"] += 1
            elif not deep:
                others["sub-folder{s}"] += 1
            else:
                (links if entry.is_symlink() else waiting).append(place / entry.name)
        yield place, files


def _literal(ending: str) -> str:
    return ending.replace("{", "{{").replace("}", "}}")


def below_here(folder: Path) -> str:
    """Where a relative path was looked for: the usual reason why it is not there."""
    return "" if folder.is_absolute() else f" below {Path.cwd()}, where the command was started"


def _is_animated(path: Path) -> bool:
    try:
        with Image.open(path) as picture:
            return bool(getattr(picture, "is_animated", False))
    except Exception:  # whatever is wrong with it is said when it is read
        return False


def _pages(path: Path) -> list[int]:
    """The numbers, from 1, of a TIFF file's directories that are whole pictures; empty for what is no TIFF file.

    Read from the directories themselves: Pillow opens no stack of five bands.
    """
    try:
        with path.open("rb") as file:
            return [number for number, kind in enumerate(_directories(file), 1) if not kind & _SMALLER_OR_MASK]
    except (OSError, struct.error):
        return []


def _directories(file: BinaryIO) -> Iterator[int]:
    """NewSubfileType of each directory of a TIFF or BigTIFF file (Adobe, TIFF 6.0, section 2), in the chain's order."""
    start = file.read(8)
    order = {b"II": "<", b"MM": ">"}.get(start[:2])
    if order is None or len(start) < 8:
        return
    big = struct.unpack(order + "H", start[2:4])[0] == 43
    count, entry, link = ("Q", "HHQ8s", "Q") if big else ("H", "HHI4s", "I")
    size = struct.calcsize(order + entry)
    place = struct.unpack(order + link, file.read(8) if big else start[4:])[0]
    seen: set[int] = set()
    while place and place not in seen and len(seen) < _MOST_PAGES:
        seen.add(place)
        file.seek(place)
        (entries,) = struct.unpack(order + count, file.read(struct.calcsize(order + count)))
        body = file.read(min(entries, 1 << 16) * size)
        kind = 0
        for at in range(0, len(body) - size + 1, size):
            tag, type, _, value = struct.unpack_from(order + entry, body, at)
            if tag == 254:
                kind = struct.unpack_from(order + ("H" if type == 3 else "I"), value)[0]
        yield kind
        (place,) = struct.unpack(order + link, file.read(struct.calcsize(order + link)))
