"""Two-class microscope slices: cells and the membranes between them.

The layout is that of the ISBI 2012 electron-microscopy challenge: Cardona et al., "An Integrated Micro- and
Macroarchitectural Analysis of the Drosophila Brain by Computer-Assisted Serial Section Electron Microscopy", 2010.
"""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Annotated

from pydantic import Field
from torch.utils.data import Dataset

from densefield.built import described
from densefield.checks import InputError, check
from densefield.classes import ClassList
from densefield.data.pairs import find_pairs
from densefield.data.sample import Sample, data_root, read_sample
from densefield.images.bands import AS_DECLARED


@described("cell_images")
class CellImages(Dataset[Sample]):
    """The slices under `root`: `images/NAME.png` and `labels/NAME.png` with 1 inside a cell, 0 on a membrane.

    Neighbouring slices look alike, so the split cuts the stack once: its last fifth, in the order of the names, is
    "val" (4 of 20), the rest "train". In a recipe `root` is by default isbi2012-em in $DENSEFIELD_DATA or in ./data.
    """

    classes: ClassList = ClassList(
        names=("membrane", "cell"), colors=((20, 20, 60), (240, 200, 90)), ignore_declared=True
    )
    reading = AS_DECLARED

    def __init__(
        self,
        root: Annotated[str | os.PathLike[str], Field(default_factory=partial(data_root, "isbi2012-em"))],
        split: str = "train",
    ) -> None:
        check(split in ("train", "val"), f"split: wanted train or val, received {split!r}")
        self.root, self.split = Path(root), split
        self.pairs = find_pairs(self.root / "images", self.root / "labels")
        alone = self.pairs.without_mask + self.pairs.without_image
        if alone:
            raise InputError(f"{alone[0]}: has no partner of the same name; wanted every image with its labels")
        names = self.pairs.names
        held_out = len(names) // 5
        check(
            held_out >= 1, f"{self.root}: holds {len(names)} slices; wanted at least 5, a fifth of them for validation"
        )
        self.names: list[str] = names[-held_out:] if split == "val" else names[:-held_out]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        name = self.names[index]
        return read_sample(name, self.pairs.images[name], self.pairs.masks[name], self.classes)
