"""What every dataset gives: an image, its labels, its name."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from densefield.checks import InputError, check
from densefield.classes import ClassList
from densefield.images import Source, read_image, read_labels

IGNORED = 255  # in every target, whatever value the files use


class Sample(NamedTuple):
    """One image with a label for each pixel; 255 in `target` means "not labelled"."""

    image: npt.NDArray[np.uint8]  # (H, W, 3), RGB
    target: npt.NDArray[np.uint8]  # (H, W)
    name: str


def read_sample(name: str, image_path: Source, mask_path: Source, classes: ClassList) -> Sample:
    """Read an image and its mask; `classes.ignore_index`, where the list declares it, becomes 255 in the target.

    Raises `InputError` naming the file when sizes differ or a label is neither a class nor declared as ignored.
    """
    image = read_image(image_path)
    labels = read_labels(mask_path, classes)
    check(
        labels.shape == image.shape[:2],
        f"{mask_path}: the mask is {labels.shape[1]}x{labels.shape[0]} pixels, its image {image_path} is"
        f" {image.shape[1]}x{image.shape[0]}; make them the same size",
    )
    foreign = foreign_values(labels, classes)
    if foreign:
        raise InputError(f"{mask_path}: {describe_foreign(foreign, classes)}")
    ignored = labels == classes.ignore_index
    return Sample(image, np.where(ignored, IGNORED, labels).astype(np.uint8), name)


def foreign_values(labels: npt.NDArray[np.integer], classes: ClassList) -> list[int]:
    """The label values that are neither a class nor declared as ignored, in rising order."""
    wrong = (labels < 0) | (labels >= len(classes))
    if classes.ignore_declared:
        wrong &= labels != classes.ignore_index
    return [int(value) for value in np.unique(labels[wrong])]


def describe_foreign(values: list[int], classes: ClassList) -> str:
    """One line on `values` that `foreign_values` found: what they are and what to do."""
    shown = ", ".join(str(value) for value in values[:8]) + (", ..." if len(values) > 8 else "")
    fix = f"wanted 0 to {len(classes) - 1}"
    if values == [classes.ignore_index]:
        fix += f"; if {values[0]} means not labelled, write ignore_index: {values[0]} into the class list"
    else:
        fix += f" or a declared ignore_index (now {classes.ignore_index if classes.ignore_declared else 'none'})"
    return f"holds label value {shown}, which is no class; {fix}"


def trained_classes(classes: ClassList) -> ClassList:
    """The class list of a dataset's samples: that of its files with 255 as the ignored value."""
    return dataclasses.replace(classes, ignore_index=IGNORED, ignore_declared=True)
