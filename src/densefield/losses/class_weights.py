"""Class weights that balance rare and frequent classes."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from densefield.checks import InputError, check


def class_pixels(
    targets: Iterable[ArrayLike],  # each (H, W), integers
    num_classes: int,
    *,
    ignore_index: int = 255,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Count (K,) the pixels of each class, and (K,) the pixels of the images in which each class is present.

    Ignored pixels count for neither. These are the two arguments of `median_frequency_weights`. Raises `InputError`
    for a class outside 0 … K-1.
    """
    pixels = np.zeros(num_classes, np.int64)
    image_pixels = np.zeros(num_classes, np.int64)
    for number, target in enumerate(targets):
        values = np.asarray(target)
        values = values[values != ignore_index].astype(np.int64)
        if values.size and (values.min() < 0 or values.max() >= num_classes):
            outside = int(values.min()) if values.min() < 0 else int(values.max())
            raise InputError(f"targets[{number}]: holds class {outside}, wanted 0 to {num_classes - 1}")
        counts = np.bincount(values, minlength=num_classes)
        pixels += counts
        image_pixels += np.where(counts > 0, values.size, 0)
    return pixels, image_pixels


def median_frequency_weights(
    pixels_per_class: ArrayLike,  # (K,)
    image_pixels_where_present: ArrayLike,  # (K,)
) -> Tensor:
    """Median frequency balancing, (K,) float32: weight_c = median(f) / f_c, f_c = pixels of c / pixels where c occurs.

    The denominator counts only images that show the class (Eigen & Fergus 2015, section 4.3.2; SegNet, section 4), so
    that the frequencies do not sum to one. A class that never occurs has no frequency; it takes no part in the
    median and gets weight 1. Raises `InputError` where a class has more pixels than its images.
    """
    pixels = np.asarray(pixels_per_class, np.float64)
    image_pixels = np.asarray(image_pixels_where_present, np.float64)
    check(
        pixels.ndim == 1 and pixels.shape == image_pixels.shape,
        f"image_pixels_where_present: wanted the shape of pixels_per_class, (K,) = {pixels.shape}, "
        f"received {image_pixels.shape}",
    )
    check(
        bool(np.all((pixels >= 0) & (pixels <= image_pixels))),
        "pixels_per_class: wanted 0 to image_pixels_where_present in every class",
    )
    present = pixels > 0
    check(bool(present.any()), "pixels_per_class: all are 0; wanted at least one class that occurs")
    frequency = pixels[present] / image_pixels[present]
    weights = np.ones(pixels.shape)
    weights[present] = np.median(frequency) / frequency
    return torch.from_numpy(weights).float()
