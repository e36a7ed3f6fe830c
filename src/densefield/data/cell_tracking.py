"""Sets of the Cell Tracking Challenge as published: numbered cells in some frames of two sequences.

Maška et al., "A benchmark for comparison of cell tracking algorithms", 2014. U-Net was measured on two of them,
PhC-C2DH-U373 and DIC-C2DH-HeLa, by `densefield.metrics.seg_measure`. The challenge names no colors; these are ours.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from densefield.built import described
from densefield.built.bounds import Number
from densefield.checks import check
from densefield.classes import ClassList
from densefield.data.published import Files, Origin, Published, home_of, names_in
from densefield.data.sample import IGNORED
from densefield.images import AS_DECLARED, Reading, read_labels
from densefield.images.listing import pictures_of

CELL_TRACKING = Origin(
    "a set of the Cell Tracking Challenge", "https://celltrackingchallenge.net/2d-datasets/ (training datasets)"
)
CLASSES = ClassList(names=("background", "cell"), colors=((20, 20, 60), (240, 200, 90)), ignore_declared=True)

_TRUTHS = {"gold": "GT", "silver": "ST"}


@described()
def cell_tracking(
    split: str = "train",
    *,
    root: str,
    variant: Literal["gold", "silver"] = "gold",
    val: Annotated[str, Field(pattern=r"^\d\d$", description="the sequence held out")] = "02",
    separate: bool = False,
    range: Annotated[tuple[Number, Number] | None, Field(description="black, white")] = None,
) -> CellFrames:
    """A set of the Cell Tracking Challenge, such as PhC-C2DH-U373: frames 01/t000.tif, cells 01_GT/SEG/man_seg000.tif.

    Only frames that have labels are taken. Frames of one sequence look alike, so a whole one is held out: `val`.
    "silver" are the computed labels of more frames, in 01_ST. `separate`: pixels at which one cell touches another
    become background, so that a network can learn to part them. `range` is what is black and white in images of 16 bits
    that use few of them.
    Raises `InputError` for what is missing, and for volumes.
    """
    wanted = f"split: wanted train or val, received {split!r}; the challenge's test sequences have no labels"
    check(split in ("train", "val"), wanted)
    end = _TRUTHS[variant]
    home = home_of(root, (val, f"{val}_{end}/SEG"), CELL_TRACKING)
    labelled = sorted(path.parent.name[:2] for path in home.glob(f"[0-9][0-9]_{end}/SEG"))
    sequences = [val] if split == "val" else [each for each in labelled if each != val]
    alone = f"{home}: only {val} has labels, and is held out; wanted another sequence to train on; {CELL_TRACKING}"
    check(bool(sequences), alone)
    home_of(root, sequences, CELL_TRACKING)
    files = [each for sequence in sequences for each in _labelled(home / sequence, home / f"{sequence}_{end}" / "SEG")]
    return CellFrames(files, reading=Reading(None, range), separate=separate)


class CellFrames(Published):
    """Frames with numbered cells: the target is 1 inside a cell, and `instances` tells one from another."""

    def __init__(self, files: Sequence[Files], *, reading: Reading = AS_DECLARED, separate: bool = False) -> None:
        super().__init__(files, CLASSES, CELL_TRACKING)
        self.reading, self.separate = reading, separate

    def instances(self, index: int) -> npt.NDArray[np.uint16]:  # (H, W)
        """The cells of a frame, numbered 1, 2, … in the order of the file's numbers but never 255; 0 elsewhere."""
        path = self.files[index].mask
        values, places = np.unique(_cells(path), return_inverse=True)
        numbers = np.cumsum(values > 0)
        numbers += numbers >= IGNORED
        check(int(numbers.max(initial=0)) < 2**16, f"{path}: holds {values.size} cells; wanted fewer than 65,535")
        return np.asarray(numbers.astype(np.uint16)[places].reshape(places.shape))

    def _target(self, path: Path) -> npt.NDArray[np.uint8]:  # (H, W)
        cells = _cells(path)
        inside = cells > 0
        if self.separate:
            inside &= ~touching(cells)
        return inside.astype(np.uint8)


def touching(cells: npt.NDArray[np.integer]) -> npt.NDArray[np.bool_]:  # (H, W) -> (H, W)
    """The pixels of a cell that have a pixel of another one above, below or beside them."""
    found = np.zeros(cells.shape, bool)
    for here, there in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        border = (cells[here] != cells[there]) & (cells[here] > 0) & (cells[there] > 0)
        found[here] |= border
        found[there] |= border
    return found


def _cells(path: Path) -> npt.NDArray[np.integer]:  # (H, W)
    cells = read_labels(path)
    least = int(cells.min(initial=0))
    check(least >= 0, f"{path}: holds the number {least}; wanted 0 for the background and the cells' numbers from 1 on")
    return cells


def _labelled(frames: Path, labels: Path) -> list[Files]:
    """The frames of a sequence that have labels, in the order of time."""
    images, masks = _by_number(frames, "t"), _by_number(labels, "man_seg")
    check(bool(masks), f"{labels}: holds no man_seg000.tif; unpack all of it; {CELL_TRACKING}")
    files = []
    for number, mask in sorted(masks.items()):
        digits = mask.stem.removeprefix("man_seg")
        files.append(Files(f"{frames.name}/t{digits}", images.get(number, frames / f"t{digits}.tif"), mask))
    for path in (files[0].image, files[0].mask):
        check(not path.exists() or len(pictures_of(path)) == 1, f"{path}: is a volume; wanted a set of plane images")
    return files


def _by_number(folder: Path, start: str) -> dict[int, Path]:
    """The files of a folder that are named by `start` and the number of a frame, in three or four digits."""
    found: dict[int, Path] = {}
    for name in sorted(names_in(folder)):
        volume = re.fullmatch(rf"{start}_\d+_\d+\.tif", name)
        check(not volume, f"{folder / name}: is a slice of a volume; wanted a set of plane images")
        if match := re.fullmatch(rf"{start}(\d{{3,4}})\.tif", name):
            number = int(match[1])
            check(number not in found, f"{folder / name}: is the same frame as {found.get(number)}; keep one of them")
            found[number] = folder / name
    return found
