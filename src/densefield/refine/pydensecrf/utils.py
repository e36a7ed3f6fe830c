"""The functions of `pydensecrf.utils`: unary energies from labels or probabilities, and features for pairwise ones."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from numbers import Number
from typing import Any

import numpy as np
from numpy.typing import NDArray

from densefield.checks import check, finite_number, shown, whole_number
from densefield.ops.memory import check_memory
from densefield.refine.compatibility import check_positive

Energies = NDArray[np.float32]


def unary_from_labels(
    labels: NDArray[np.integer],  # any shape
    n_labels: int,
    gt_prob: float,
    zero_unsure: bool = True,
) -> Energies:  # (n_labels, number of pixels)
    """Energies of a label map that is right with probability `gt_prob`, all other labels sharing the rest.

    With `zero_unsure` label 0 means "could be anything" and is not counted in `n_labels`: labels are 1 … n_labels.
    """
    labels = np.asarray(labels).reshape(-1)
    right = 0 < finite_number("gt_prob", gt_prob) < 1
    check(right, f"gt_prob: wanted a probability between 0 and 1, received {gt_prob}")
    n_labels = whole_number("n_labels", n_labels, 1)
    check(labels.dtype.kind in "iub", f"labels: wanted whole numbers, received {labels.dtype}")
    labels = labels.astype(np.int64)
    least, most = (0, n_labels) if zero_unsure else (0, n_labels - 1)
    inside = not labels.size or (labels.min() >= least and labels.max() <= most)
    check(inside, f"labels: wanted {least} to {most}, received {labels.min(initial=0)} to {labels.max(initial=0)}")
    others = -np.log((1.0 - gt_prob) / max(n_labels - 1, 1))
    energies = np.full((n_labels, labels.size), others, dtype=np.float32)
    known = np.flatnonzero(labels > 0) if zero_unsure else np.arange(labels.size)
    energies[labels[known] - int(zero_unsure), known] = -np.log(gt_prob)
    if zero_unsure:
        energies[:, labels == 0] = np.log(n_labels)
    return energies


def compute_unary(labels: NDArray[np.integer], M: int, GT_PROB: float = 0.5) -> Energies:
    """Deprecated in pydensecrf: the same as `unary_from_labels`."""
    warnings.warn("compute_unary is deprecated, use unary_from_labels", DeprecationWarning, stacklevel=2)
    return unary_from_labels(labels, M, GT_PROB)


def unary_from_softmax(
    sm: NDArray[np.floating],  # (labels, ...), probabilities
    scale: float | None = None,
    clip: float | None = 1e-5,
) -> Energies:  # (labels, number of pixels)
    """-log of probabilities, first mixed with uniform ones by 1 - `scale`, then not below `clip`.

    Warns of numbers that are no probabilities, such as scores before softmax: clipping would hide them.
    """
    sm = np.asarray(sm)
    check(
        sm.ndim >= 1 and sm.size > 0 and sm.dtype.kind in "fiu",
        f"sm: wanted probabilities (labels, ...), received {shown(sm)}",
    )
    least, most = float(sm.min()), float(sm.max())
    if least < 0 or most > 1 + 1e-3:  # half precision rounds to a little more than 1
        warnings.warn(f"sm: holds {least:g} to {most:g}; wanted probabilities, after softmax", stacklevel=2)
    if scale is not None:
        check(0 < finite_number("scale", scale) <= 1, f"scale: wanted above 0 and at most 1, received {scale}")
        sm = scale * sm + (1 - scale) / sm.shape[0]
    if clip is not None:
        sm = np.clip(sm, finite_number("clip", clip), 1.0)
    with np.errstate(divide="ignore"):
        energies = -np.log(sm)
    return energies.reshape(sm.shape[0], -1).astype(np.float32)


def softmax_to_unary(sm: NDArray[np.floating], GT_PROB: float = 1) -> Energies:
    """Deprecated in pydensecrf: `unary_from_softmax` without clipping."""
    warnings.warn("softmax_to_unary is deprecated, use unary_from_softmax", DeprecationWarning, stacklevel=2)
    return unary_from_softmax(sm, None if GT_PROB == 1 else GT_PROB, clip=None)


def create_pairwise_gaussian(sdims: Sequence[float], shape: Sequence[int]) -> NDArray[np.float32]:
    """Positions on a grid of any number of axes divided by the widths `sdims`, for `addPairwiseEnergy`: (axes, N)."""
    listed = isinstance(shape, Sequence) and not isinstance(shape, str)
    check(listed, f"shape: wanted the grid's sizes, such as (height, width), received {shown(shape)}")
    shape = [whole_number("shape", size, 1) for size in shape]
    _check_widths("sdims", sdims, len(shape), f"shape {tuple(shape)}")
    check_memory(4 * len(shape) * math.prod(shape), f"a grid of {math.prod(shape)} pixels")
    return _grid(sdims, shape).reshape(len(shape), -1)


def create_pairwise_bilateral(
    sdims: Sequence[float],
    schan: Any,
    img: NDArray[Any],
    chdim: int = -1,
) -> NDArray[np.float32]:
    """Positions divided by `sdims`, then channels by `schan` (a number or one a channel): (axes + channels, N).

    `chdim` is the axis of `img` that holds the channels, -1 for an image without such an axis.
    """
    img = np.asarray(img)
    check(
        img.dtype.kind in "fiub" and img.size > 0,
        f"img: wanted an array of numbers, nothing empty, received {shown(img)}",
    )
    chdim = whole_number("chdim", chdim, -1)
    check(chdim < img.ndim, f"chdim: wanted -1 or an axis of img {img.shape}, received {chdim}")
    channels = (img[None] if chdim == -1 else np.moveaxis(img, chdim, 0)).astype(np.float32)
    each: Any = [schan] * len(channels) if isinstance(schan, Number) else schan
    _check_widths("schan", each, len(channels), f"{len(channels)} channels, or one number")
    shape = channels.shape[1:]
    _check_widths("sdims", sdims, len(shape), f"an image {shape}")
    channels /= np.reshape(np.array(each, np.float32), (-1, *[1] * len(shape)))
    return np.concatenate([_grid(sdims, shape), channels]).reshape(len(shape) + len(channels), -1)


def _check_widths(name: str, widths: Any, count: int, what: str) -> None:
    sized = not isinstance(widths, str) and isinstance(widths, Sequence | np.ndarray) and np.shape(widths) == (count,)
    check(sized, f"{name}: wanted {count} widths to fit {what}, received {shown(widths)}")
    check_positive(name, list(widths))


def _grid(widths: Sequence[float], shape: Sequence[int]) -> NDArray[np.float32]:  # (axes, *shape)
    places = np.indices(tuple(shape), dtype=np.float32)
    places /= np.reshape(np.array(widths, np.float32), (-1, *[1] * len(shape)))
    return places
