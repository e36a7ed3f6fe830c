"""Sets that lie on the disk as their publishers lay them: files looked for once, and what is missing said before work.

Which files belong together is each set's own (`voc`, `cityscapes`, `gatech`); what is common to them is here.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from torch.utils.data import Dataset

from densefield.checks import InputError, check
from densefield.classes import ClassList
from densefield.data.sample import Sample, same_size, trained_classes
from densefield.images import AS_DECLARED, read_image, read_labels
from densefield.images.listing import below_here


class Origin(NamedTuple):
    """What a set is called, and where it is to be had."""

    title: str
    source: str

    def __str__(self) -> str:
        return f"{self.title} is to be had from {self.source}"


class Files(NamedTuple):
    """One image with its mask."""

    name: str
    image: Path
    mask: Path


class Published(Dataset[Sample]):
    """The images of one split, `files` in their order, whose masks hold the values of `file_classes`.

    Values in `ignored` mean "not labelled", as the class list's own does. Raises `InputError` where a file of the split
    is missing, and on reading for what cannot be used.
    """

    reading = AS_DECLARED

    def __init__(
        self, files: Sequence[Files], file_classes: ClassList, origin: Origin, *, ignored: Collection[int] = ()
    ) -> None:
        check_there([each.image for each in files], "images", origin)
        check_there([each.mask for each in files], "masks", origin)
        self.files, self.file_classes, self.origin, self.ignored = tuple(files), file_classes, origin, tuple(ignored)
        self.classes = trained_classes(file_classes)
        self.names: list[str] = [each.name for each in files]

    @property
    def images(self) -> list[Path]:
        """The file of each image."""
        return [each.image for each in self.files]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Sample:
        name, image_path, mask_path = self.files[index]
        image, target = read_image(image_path, self.reading), self._target(mask_path)
        same_size(image, image_path, target, mask_path)
        return Sample(image, target, name)

    def _target(self, path: Path) -> npt.NDArray[np.uint8]:  # (H, W)
        classes = self.file_classes
        labels = read_labels(path, classes)
        labels = np.where(np.isin(labels, self.ignored), classes.ignore_index, labels)
        foreign = classes.foreign(labels)
        shown = ", ".join(map(str, foreign[:8]))
        wrong = (
            f"{path}: holds label value {shown}, which {self.origin.title} does not have; wanted the file as published"
        )
        check(not foreign, wrong)
        return classes.indices(labels)


def home_of(root: str | os.PathLike[str], parts: Sequence[str], origin: Origin) -> Path:
    """`root`, which holds all `parts`; `InputError` names those that are missing and where the set is to be had."""
    home, listed = Path(root), ", ".join(parts)
    if not home.is_dir():
        reason = "is a file" if home.exists() else f"no such folder{below_here(home)}"
        raise InputError(f"data.root: {home}: {reason}; wanted the folder that holds {listed}; {origin}")
    missing = [part for part in parts if not (home / part).exists()]
    if not missing:
        return home
    inside = [place for place in sorted(home.iterdir()) if all((place / part).exists() for part in parts)]
    hint = f"they lie in {inside[0]}, so give that" if inside else f"unpack all of it; {origin}"
    raise InputError(f"data.root: {home}: holds no {', no '.join(missing)}; wanted {listed}; {hint}")


def check_there(files: Sequence[Path], what: str, origin: Origin) -> None:
    """Raise `InputError` unless every file is there: a set that is half unpacked is better told than trained on."""
    # One listing a folder: asking for each of 10,000 files takes long on a network's disk.
    present = {folder: names_in(folder) for folder in {each.parent for each in files}}
    missing = [each for each in files if each.name not in present[each.parent]]
    if missing:
        count = f"{len(missing)} of the split's {len(files)} {what}"
        raise InputError(f"{missing[0]}: no such file; {count} are missing: unpack all of it; {origin}")


def names_in(folder: Path) -> set[str]:
    """What a folder holds, by name; nothing where there is no such folder."""
    try:
        return set(os.listdir(folder))
    except (FileNotFoundError, ValueError):  # or no name that a folder can have
        return set()
    except OSError as error:
        raise InputError(f"{folder}: cannot be read ({error.strerror}); check its permissions") from error
