"""A person's own images and masks in two folders."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Annotated

from pydantic import Field
from torch.utils.data import Dataset

from densefield.built import described
from densefield.built.bounds import Number
from densefield.checks import InputError, check
from densefield.classes import ClassList
from densefield.data.pairs import Pairs, find_pairs
from densefield.data.sample import Sample, read_sample, trained_classes
from densefield.images.bands import AS_DECLARED, Reading
from densefield.images.listing import Picture, below_here


@described()
def folder(
    split: str = "all",
    *,
    root: str,
    images: str = "images",
    masks: str = "masks",
    classes: str = "classes.yaml",
    suffix: str = "",
    bands: tuple[Annotated[int, Field(ge=1, le=4096)], ...] | None = None,
    range: Annotated[tuple[Number, Number] | None, Field(description="black, white")] = None,
    val: Annotated[float, Field(gt=0, lt=1, description="the share held out")] = 0.2,
) -> Folder:
    """A person's own folder: `root`/images, `root`/masks and a class list (YAML); `val` is the share held out.

    `suffix` stands behind the image's name in its mask's: "_mask" for NAME_mask.png. `bands`, counted from 1, are red,
    green and blue (or grey), and `range` black and white, where the images' files do not declare them.
    Raises `InputError` where `root` is no folder, and as `Folder` does.
    """
    home = Path(root)
    if not home.is_dir():
        reason = "is a file" if home.exists() else f"no such folder{below_here(home)}"
        raise InputError(f"data.root: {home}: {reason}; wanted the folder that holds {images} and {masks}")
    reading = Reading(bands, range)
    return Folder(home / images, home / masks, home / classes, split=split, val=val, suffix=suffix, reading=reading)


class Folder(Dataset[Sample]):
    """Images in one folder, masks of the same names in another; masks hold class indices or the classes' colors.

    `classes` is a `ClassList` or the path of its YAML file. `split` is "all", or "train" and "val" with a share
    `val` of the images held out: always the same, chosen by a hash of their names, so that new images move few.
    Masks are named as their images, with `suffix` behind the name. `reading` says which bands and values of the images
    are meant, where the files do not. Raises `InputError` where an image has no mask or a mask no image, and on reading
    for what cannot be used.
    """

    def __init__(
        self,
        images: str | os.PathLike[str],
        masks: str | os.PathLike[str],
        classes: ClassList | str | os.PathLike[str],
        *,
        split: str = "all",
        val: float = 0.2,
        suffix: str = "",
        reading: Reading = AS_DECLARED,
    ) -> None:
        check(split in ("all", "train", "val"), f"split: wanted all, train or val, received {split!r}")
        check(0 < val < 1, f"val: wanted a share between 0 and 1, received {val}")
        self.split = split
        self.reading = reading
        self.file_classes = classes if isinstance(classes, ClassList) else ClassList.read(classes)
        self.classes = trained_classes(self.file_classes)
        self.pairs = find_pairs(images, masks, suffix=suffix)
        _all_paired(self.pairs)
        self.names: list[str] = self.pairs.names
        if split != "all":
            count = len(self.names)
            check(count >= 2, f"{images}: holds one image; wanted at least two, one of them for validation")
            held_out = set(sorted(self.names, key=_shuffled)[: min(count - 1, max(1, round(val * count)))])
            self.names = [name for name in self.names if (name in held_out) == (split == "val")]

    @property
    def images(self) -> list[Picture]:
        """The file of each image."""
        return [self.pairs.images[name] for name in self.names]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        name = self.names[index]
        return read_sample(name, self.pairs.images[name], self.pairs.masks[name], self.file_classes, self.reading)


def _all_paired(pairs: Pairs) -> None:
    """Raise on the first file that has no partner or a rival, and on a folder that cannot be looked into."""
    lists_all = "'densefield data check' lists all such files"
    for listing in pairs.listings:
        for place in listing.unreadable:
            raise InputError(f"{place}: the folder cannot be read; check its permissions")
    for alone, missing in ((pairs.without_mask, "mask"), (pairs.without_image, "image")):
        if alone:
            more = f" ({len(alone)} such files)" if len(alone) > 1 else ""
            hint = pairs.hints().get(alone[0], lists_all)
            raise InputError(f"{alone[0]}: has no {missing} of the same name{more}; {hint}")
    for first, second in pairs.rivals:
        raise InputError(f"{second}: has the same name as {first.path.name}; keep one of them, {lists_all}")


def _shuffled(name: str) -> bytes:
    """A key that sorts names into an order of no meaning, the same everywhere."""
    return hashlib.sha256(name.encode()).digest()
