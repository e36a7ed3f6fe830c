"""The confusion matrix of a whole set, and the four usual figures from it."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.distributed
from numpy.typing import NDArray
from torch import Tensor

from densefield.checks import InputError, check


def confusion_counts(
    labels: Tensor | NDArray[np.generic],  # any shape, integers
    target: Tensor | NDArray[np.generic],  # the same shape
    num_classes: int,
    *,
    ignore_index: int = 255,
) -> Tensor:
    """Count pixels by (target, label): (K, K) int64 on the CPU, rows are the target's classes.

    Pixels whose target is `ignore_index` are left out, whatever their label. Raises `InputError` for shapes that
    differ and for a counted pixel with a class outside 0 … K-1.
    """
    labels = _integers("labels", labels)
    target = _integers("target", target)
    check(
        labels.shape == target.shape,
        f"labels: wanted the target's shape {tuple(target.shape)}, received {tuple(labels.shape)}",
    )
    counted = target != ignore_index
    rows = target[counted].long()
    columns = labels.to(target.device)[counted].long()
    for name, values in (("labels", columns), ("target", rows)):
        if values.numel():
            low, high = (int(value) for value in values.aminmax())
            if low < 0 or high >= num_classes:
                outside = low if low < 0 else high
                raise InputError(
                    f"{name}: holds class {outside} where the target is not ignored, wanted 0 to {num_classes - 1}"
                )
    cells = torch.bincount(rows * num_classes + columns, minlength=num_classes * num_classes)
    return cells.reshape(num_classes, num_classes).cpu()


class ConfusionMatrix:
    """`counts` (K, K) int64 summed over a set of images, rows are the target's classes, and its figures in float64.

    The set is one sum: figures are never averages of per-image figures (VOC, CamVid and Cityscapes measure so). A
    class absent from labels and target has no IoU (NaN), one absent from the target has no accuracy; means leave NaN
    out. Names as in Long et al. 2015 (section 5): with n_ij pixels of class i labelled j and t_i = Σ_j n_ij.
    """

    def __init__(self, num_classes: int, ignore_index: int = 255) -> None:
        check(num_classes >= 1, f"num_classes: wanted at least 1, received {num_classes}")
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.counts = torch.zeros(num_classes, num_classes, dtype=torch.int64, device="cpu")

    def __repr__(self) -> str:
        return f"ConfusionMatrix({self.num_classes} classes, {int(self.counts.sum())} pixels)"

    def update(self, labels: Tensor | NDArray[np.generic], target: Tensor | NDArray[np.generic]) -> None:
        """Add the pixels of one image or batch (any shape, both the same)."""
        self.counts += confusion_counts(labels, target, self.num_classes, ignore_index=self.ignore_index)

    def merge(self, other: ConfusionMatrix) -> None:
        """Add what another matrix over the same classes has counted."""
        check(
            other.num_classes == self.num_classes,
            f"other: counts {other.num_classes} classes, wanted {self.num_classes}",
        )
        self.counts += other.counts

    def all_reduce(self) -> None:
        """Sum over all processes; nothing changes where `torch.distributed` is not initialised.

        Call it once, after the last update: a second call would count everything again.
        """
        self.counts = sum_over_processes(self.counts)

    def reset(self) -> None:
        """Forget everything counted so far."""
        self.counts.zero_()

    def pixel_accuracy(self) -> float:
        """Σ_i n_ii / Σ_i t_i; NaN when nothing is counted."""
        counts = self.counts.double()
        return float(counts.diagonal().sum() / counts.sum())

    def accuracy_per_class(self) -> Tensor:
        """n_ii / t_i, (K,) float64; NaN where the class is absent from the target."""
        counts = self.counts.double()
        return counts.diagonal() / counts.sum(1)

    def mean_accuracy(self) -> float:
        """The mean of `accuracy_per_class` over the classes that have one."""
        return float(self.accuracy_per_class().nanmean())

    def iou_per_class(self) -> Tensor:
        """n_ii / (t_i + Σ_j n_ji - n_ii), (K,) float64; NaN where the class is absent from labels and target."""
        counts = self.counts.double()
        hits = counts.diagonal()
        return hits / (counts.sum(0) + counts.sum(1) - hits)

    def mean_iou(self) -> float:
        """The mean of `iou_per_class` over the classes that have one."""
        return float(self.iou_per_class().nanmean())

    def frequency_per_class(self) -> Tensor:
        """t_i / Σ_k t_k, (K,) float64: the share of the target's pixels."""
        counts = self.counts.double()
        return counts.sum(1) / counts.sum()

    def frequency_weighted_iou(self) -> float:
        """Σ_i t_i IoU_i / Σ_k t_k; NaN when nothing is counted."""
        if not int(self.counts.sum()):
            return math.nan
        return float((self.frequency_per_class() * self.iou_per_class().nan_to_num(nan=0.0)).sum())


def sum_over_processes(counts: Tensor) -> Tensor:
    """The sum of `counts` (on the CPU) over all processes; itself where `torch.distributed` is not initialised."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return counts
    # NCCL sums only what lies on a GPU.
    on_gpu = torch.distributed.get_backend() == torch.distributed.Backend.NCCL
    summed = counts.cuda() if on_gpu else counts.clone()
    torch.distributed.all_reduce(summed)
    return summed.cpu()


def _integers(name: str, values: Tensor | NDArray[np.generic]) -> Tensor:
    """`values` as an integer tensor; unsigned types that torch barely supports are widened."""
    if not isinstance(values, Tensor):
        values = np.asarray(values)
        check(
            values.dtype.kind in "iub",
            f"{name}: wanted an array of class indices (integers), received {values.dtype}",
        )
        values = torch.from_numpy(np.ascontiguousarray(values, dtype=np.int64))
    check(
        not values.is_floating_point() and not values.is_complex(),
        f"{name}: wanted an integer tensor of class indices, received {values.dtype}",
    )
    # An ignore index such as 255 or -1 must not wrap around in a narrow type.
    return values.long()
