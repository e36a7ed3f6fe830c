"""SEG, the Cell Tracking Challenge's measure of how well single cells are found and outlined.

Maška et al., "A benchmark for comparison of cell tracking algorithms", Bioinformatics 30, 2014, section 2.3.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from densefield.checks import check
from densefield.metrics.confusion import sum_over_processes


def cell_overlaps(
    instances: ArrayLike,  # (H, W), 0 = background, 1, 2, … = predicted cells; or bool, True = some cell
    reference: ArrayLike,  # (H, W), the same of the reference
) -> NDArray[np.float64]:  # (N,)
    """|R ∩ S| / |R ∪ S| of each reference cell R, in the order of their numbers, and of the predicted cell S on it.

    S is the one cell that covers more than half of R; where none does, the overlap is 0. Numbers may have gaps.
    Boolean maps are split into 4-connected components. Volumes (D, H, W) work alike. Raises `InputError` for negative
    or non-integer maps and shapes that differ.
    """
    found, wanted = _numbered(instances, "instances"), _numbered(reference, "reference")
    check(
        found.shape == wanted.shape, f"instances: wanted the reference's shape {wanted.shape}, received {found.shape}"
    )
    areas, wanted_areas = np.bincount(found.ravel(), minlength=1), np.bincount(wanted.ravel(), minlength=1)
    both = (found > 0) & (wanted > 0)
    pairs, shared = np.unique(wanted[both] * areas.size + found[both], return_counts=True)
    cells, covering = np.divmod(pairs, areas.size)
    matched = 2 * shared > wanted_areas[cells]  # at most one of each cell's
    cells, covering, shared = cells[matched], covering[matched], shared[matched]
    overlaps = np.zeros(wanted_areas.size)
    overlaps[cells] = shared / (wanted_areas[cells] + areas[covering] - shared)
    return overlaps[1:]


def seg_measure(instances: ArrayLike, reference: ArrayLike) -> float:
    """The mean of `cell_overlaps`, in [0, 1]; NaN without a reference cell. Of several images take `SegMeasure`."""
    measure = SegMeasure()
    measure.update(instances, reference)
    return measure.mean()


class SegMeasure:
    """SEG of a set: the mean over all reference cells of all its images, however many an image holds.

    Cells that are predicted where the reference has none do not count, as in the challenge.
    """

    def __init__(self) -> None:
        self.sums = torch.zeros(2, dtype=torch.float64, device="cpu")  # of overlaps, of cells

    @property
    def cells(self) -> int:
        """How many reference cells were counted."""
        return int(self.sums[1])

    def update(self, instances: ArrayLike, reference: ArrayLike) -> None:
        """Add one image, as `cell_overlaps` takes it."""
        overlaps = cell_overlaps(instances, reference)
        self.sums += torch.tensor([overlaps.sum(), overlaps.size], dtype=torch.float64, device="cpu")

    def merge(self, other: SegMeasure) -> None:
        """Add what another one has counted."""
        self.sums += other.sums

    def all_reduce(self) -> None:
        """Sum over all processes, as `ConfusionMatrix.all_reduce`."""
        self.sums = sum_over_processes(self.sums)

    def mean(self) -> float:
        """The figure, in [0, 1]; NaN where no cell was counted."""
        return float(self.sums[0] / self.sums[1]) if self.cells else math.nan


def _numbered(cells: ArrayLike, name: str) -> NDArray[np.int64]:
    """The map with its cells numbered 1, 2, … without gaps."""
    array = np.asarray(cells)
    check(array.dtype.kind in "iub", f"{name}: wanted integers or booleans, received {array.dtype}")
    check(array.ndim >= 2, f"{name}: wanted shape (H, W), received {array.shape}")
    if array.dtype.kind == "b":
        return np.asarray(ndimage.label(array)[0], np.int64)
    least = int(array.min(initial=0))
    check(least >= 0, f"{name}: wanted 0 or more everywhere, received {least}")
    # The 0 put in front stays 0, also where there is no background.
    values = np.concatenate([np.zeros(1, array.dtype), array.ravel()])
    return np.asarray(np.unique(values, return_inverse=True)[1][1:].reshape(array.shape), np.int64)
