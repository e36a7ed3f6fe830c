"""A person's own images and masks in two folders."""

from __future__ import annotations

import os
from collections.abc import Sequence

from torch.utils.data import Dataset

from densefield.checks import check
from densefield.classes import ClassList
from densefield.data.pairs import find_pairs
from densefield.data.sample import Sample, read_sample, trained_classes


class Folder(Dataset[Sample]):
    """Images in one folder, masks of the same names in another; files that hold class indices or the classes' colours.

    `classes` is a `ClassList` or the path of its YAML file; `names` picks some of the images, in that order.
    Raises `InputError` where an image has no mask or a mask no image, and on reading for what cannot be used.
    """

    def __init__(
        self,
        images: str | os.PathLike[str],
        masks: str | os.PathLike[str],
        classes: ClassList | str | os.PathLike[str],
        names: Sequence[str] | None = None,
    ) -> None:
        self.file_classes = classes if isinstance(classes, ClassList) else ClassList.read(classes)
        self.classes = trained_classes(self.file_classes)
        self.pairs = find_pairs(images, masks)
        hint = "'densefield data check' lists all such files"
        if names is None:
            for alone, missing in ((self.pairs.without_mask, f"mask in {masks}"), (self.pairs.without_image, "image")):
                more = f" ({len(alone)} such files)" if len(alone) > 1 else ""
                check(not alone, f"{alone[0] if alone else ''}: has no {missing} of the same name{more}; {hint}")
            names = self.pairs.names
        for first, second in self.pairs.rivals:
            check(False, f"{second}: has the same name as {first.name}; keep one of them, {hint}")
        unknown = sorted(set(names) - set(self.pairs.names))
        check(not unknown, f"names: {unknown[:1]} is not among the {len(self.pairs.names)} pairs of image and mask")
        self.names: list[str] = list(names)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        name = self.names[index]
        return read_sample(name, self.pairs.images[name], self.pairs.masks[name], self.file_classes)
