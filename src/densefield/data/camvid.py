"""CamVid in the 480x360 form with 11 classes that the SegNet and FC-DenseNet papers use.

Brostow, Fauqueur, Cipolla, "Semantic Object Classes in Video: A High-Definition Ground Truth Database", 2009.
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
from densefield.data.sample import Sample, data_root, read_sample, trained_classes
from densefield.images.bands import AS_DECLARED

# In the files 11 means "unlabelled".
FILE_CLASSES = ClassList(
    names=(
        "Sky",
        "Building",
        "Pole",
        "Road",
        "Sidewalk",
        "Tree",
        "Sign",
        "Fence",
        "Car",
        "Pedestrian",
        "Bicyclist",
    ),
    colors=(
        (128, 128, 128),
        (128, 0, 0),
        (192, 192, 128),
        (128, 64, 128),
        (0, 0, 192),
        (128, 128, 0),
        (192, 128, 128),
        (64, 64, 128),
        (64, 0, 128),
        (64, 64, 0),
        (0, 128, 192),
    ),
    ignore_index=11,
    ignore_declared=True,
    ignore_colors=((0, 0, 0),),
)


@described("camvid")
class CamVid(Dataset[Sample]):
    """The frames of one split ("train", "val" or "test") under `root`.

    `root` holds `<split>.txt` (a name a line), `<split>/NAME.jpg` or `.png`, `<split>annot/NAME.png`; in a recipe it is
    by default camvid in $DENSEFIELD_DATA or in ./data.
    """

    classes: ClassList = trained_classes(FILE_CLASSES)
    reading = AS_DECLARED

    def __init__(
        self,
        root: Annotated[str | os.PathLike[str], Field(default_factory=partial(data_root, "camvid"))],
        split: str = "train",
    ) -> None:
        check(split in ("train", "val", "test"), f"split: wanted train, val or test, received {split!r}")
        self.root, self.split = Path(root), split
        listing = self.root / f"{split}.txt"
        try:
            lines = listing.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(
                f"{listing}: cannot be read; wanted CamVid's folder with {split}.txt, {split}/ and {split}annot/"
            ) from error
        # The SegNet tutorial lists "/path/train/NAME.png /path/trainannot/NAME.png": the name is what matters.
        self.names: list[str] = [Path(line.split()[0]).stem for line in lines if line.strip()]
        check(bool(self.names), f"{listing}: names no frame; wanted one name a line")

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        name = self.names[index]
        image = self.root / self.split / f"{name}.jpg"
        if not image.exists():
            image = image.with_suffix(".png")
        return read_sample(name, image, self.root / f"{self.split}annot" / f"{name}.png", FILE_CLASSES)
