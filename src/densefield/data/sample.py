"""What every dataset gives: an image, its labels, its name."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from densefield.checks import InputError, check
from densefield.classes import ClassList
from densefield.images import AS_DECLARED, Pixels, Reading, Source, read_image, read_labels
from densefield.protocols import Sample as Sample

IGNORED = 255  # in every target, whatever value the files use


def data_root(name: str) -> str:
    """Where a known set lies when nobody says it: `name` in $DENSEFIELD_DATA, or in ./data."""
    return str(Path(os.environ.get("DENSEFIELD_DATA", "data")) / name)


def read_sample(
    name: str, image_path: Source, mask_path: Source, classes: ClassList, reading: Reading = AS_DECLARED
) -> Sample:
    """Read an image and its mask; `classes.ignore_index`, where the list declares it, becomes 255 in the target.

    Raises `InputError` naming the file when sizes differ or a label is neither a class nor declared as ignored.
    """
    image = read_image(image_path, reading)
    target = read_target(mask_path, classes)
    same_size(image, image_path, target, mask_path)
    return Sample(image, target, name)


def same_size(image: Pixels, image_path: Source, labels: npt.NDArray[np.integer], mask_path: Source) -> None:
    """Raise `InputError` unless an image (H, W, 3) and its labels (H, W) are of one size."""
    check(
        labels.shape == image.shape[:2],
        f"{mask_path}: the mask is {labels.shape[1]}x{labels.shape[0]} pixels, its image {image_path} is"
        f" {image.shape[1]}x{image.shape[0]}; make them the same size",
    )


def read_target(mask_path: Source, classes: ClassList) -> npt.NDArray[np.uint8]:  # (H, W)
    """The class index of each pixel of a mask; 255 for what the list declares as ignored.

    Raises `InputError` naming the file when a value is neither.
    """
    return target_of(read_labels(mask_path, classes), classes, str(mask_path))


def target_of(
    labels: npt.NDArray[np.integer],  # (H, W)
    classes: ClassList,
    name: str,
    unsure: int | None = None,
) -> npt.NDArray[np.uint8]:  # (H, W)
    """The class index of each label value; 255 for what is ignored, and for the value `unsure`.

    Raises `InputError` that begins with `name` when a value is neither.
    """
    foreign = [value for value in classes.foreign(labels) if value != unsure]
    if foreign:
        raise InputError(f"{name}: {describe_foreign(foreign, classes, unseen_classes(labels, classes))}")
    if unsure is None:
        return classes.indices(labels)
    return np.where(labels == unsure, IGNORED, classes.indices(labels.clip(0, 255))).astype(np.uint8)


def describe_foreign(values: list[int], classes: ClassList, missing: Sequence[str] = ()) -> str:
    """One line on `values` that `ClassList.foreign` found: what they are and what to do.

    `missing` are the classes without a pixel beside them: one of them may be what is meant.
    """
    shown = ", ".join(str(value) for value in values[:8]) + (f", ... ({len(values)} in all)" if len(values) > 8 else "")
    listed = classes.values == tuple(range(len(classes)))
    wanted = f"0 to {len(classes) - 1}" if listed else ", ".join(str(value) for value in classes.values[:8])
    wanted += f" or the declared ignore_index {classes.ignore_index}" if classes.ignore_declared else ""
    fix = f"wanted {wanted}"
    if len(values) > 8:
        fix += "; so many look like soft edges or a lossy format on the way: save each pixel as one class"
    elif values[0] < 0 or values[-1] > 255:
        fix += "; label values go from 0 to 255: save the masks with 8 bits"
    elif len(values) == 1:
        if len(missing) == 1:
            fix += f"; it looks like {missing[0]!r}, of which there is no pixel: then write value: {values[0]} into its"
            fix += " entry in the class list"
        else:
            fix += f"; if it is one of the classes, write value: {values[0]} into its entry in the class list"
        if not classes.ignore_declared:
            fix += f"; if it means not labelled, ignore_index: {values[0]}"
    else:
        fix += "; name every class in the class list, and by value: what masks hold for it"
    return f"holds label value {shown}, which is no class; {fix}"


def unseen_classes(labels: npt.NDArray[np.integer], classes: ClassList) -> list[str]:
    """The classes of which `labels` (of a file) hold no pixel."""
    present = set(np.unique(labels).tolist())
    return [name for name, value in zip(classes.names, classes.values, strict=True) if value not in present]


def trained_classes(classes: ClassList) -> ClassList:
    """The class list of a dataset's samples: that of its files with 255 as the ignored value, where no class has it."""
    ignored = classes.ignore_index if IGNORED in classes.values else IGNORED
    return dataclasses.replace(classes, ignore_index=ignored, ignore_declared=True)
