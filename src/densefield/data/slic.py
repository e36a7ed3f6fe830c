"""Regions found without any labels: what embeddings can learn from when nobody has drawn a mask."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from densefield.checks import check
from densefield.data.sample import IGNORED


def superpixels(
    image: npt.NDArray[np.uint8],  # (H, W, 3), RGB
    *,
    count: int = 200,
    compactness: float = 10.0,
) -> npt.NDArray[np.int64]:  # (H, W)
    """Number about `count` compact regions of like color: connected, from 0 on, never 255, which means "not labelled".

    Achanta et al., "SLIC Superpixels Compared to State-of-the-art Superpixel Methods", PAMI 2012, by scikit-image:
    k-means of color in Lab and position; more `compactness` gives rounder regions that follow edges less. The result
    is a target for `embedding_loss`. Raises `InputError` for other images than uint8 (H, W, 3).
    """
    from skimage.segmentation import slic  # here, because it takes a second to import and few data need it

    pixels = np.asarray(image)
    right = pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.dtype == np.uint8 and pixels.size > 0
    check(right, f"image: wanted uint8 of shape (H, W, 3), received {pixels.dtype} of shape {pixels.shape}")
    check(count >= 1, f"count: wanted at least 1, received {count}")
    check(compactness > 0, f"compactness: wanted a positive number, received {compactness}")
    regions = slic(pixels, n_segments=count, compactness=compactness, start_label=0, channel_axis=-1)
    return np.asarray(regions, np.int64) + (regions >= IGNORED)
