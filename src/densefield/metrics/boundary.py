"""How good labels are near boundaries: trimap curves and Boundary IoU."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from torch import Tensor

from densefield.checks import check
from densefield.metrics.confusion import ConfusionMatrix, sum_over_processes

# A distance no band reaches.
FAR = np.iinfo(np.int32).max

Distance = Callable[[NDArray[np.integer], int], NDArray[np.int32]]


def void_distance(target: NDArray[np.integer], ignore_index: int = 255) -> NDArray[np.int32]:
    """Each pixel's distance (H, W) to the nearest ignored one: the side of the smallest square around it, halved.

    A pixel at distance ≤ w is one that a dilation of the void by a (2w+1)² square reaches. Pascal VOC draws its void
    as a band along every object. `FAR` where nothing is ignored.
    """
    return _chessboard(target != ignore_index)


def class_distance(target: NDArray[np.integer], ignore_index: int = 255) -> NDArray[np.int32]:
    """Each pixel's distance (H, W) to the nearest one of another class, in squares as `void_distance`; 1 at a boundary.

    For data whose void is no band along the objects. Ignored pixels are no class, and are `FAR` themselves.
    """
    distance = np.full(target.shape, FAR, np.int32)
    labelled = target != ignore_index
    for number in np.unique(target[labelled]):
        own = target == number
        distance[own] = _chessboard(own | ~labelled)[own]
    return distance


class TrimapCurve:
    """Figures counted only within w pixels of a boundary, for several w, each pooled over the whole set.

    A band holds the labelled pixels with distance(target, ignore_index) ≤ w: with `void_distance` the void dilated by
    (2w+1)² squares, as in Krähenbühl & Koltun 2011 (figure 6) and DeepLab (Chen et al. 2015, figure 5); with
    `class_distance` the surroundings of class boundaries. `curve.points()` is ready for the report's trimap chart.
    """

    def __init__(
        self,
        num_classes: int,
        widths: Sequence[int] = (1, 2, 3, 4, 5, 7, 10, 15, 20, 30, 40),
        *,
        distance: Distance = void_distance,
        ignore_index: int = 255,
    ) -> None:
        widths = tuple(widths)
        check(
            len(widths) > 0 and widths[0] >= 1 and all(a < b for a, b in itertools.pairwise(widths)),
            f"widths: wanted whole numbers of pixels from 1 on, growing, received {widths}",
        )
        self.widths = widths
        self.distance = distance
        self.ignore_index = ignore_index
        # Rings between one width and the next share no pixel, so that each pixel is counted once; bands are sums.
        self.rings = tuple(ConfusionMatrix(num_classes, ignore_index) for _ in widths)

    def update(self, labels: ArrayLike | Tensor, target: ArrayLike | Tensor) -> None:
        """Add one image (H, W) or a batch (B, H, W)."""
        values, truth = _maps(labels, target)
        for one, true in zip(values, truth, strict=True):
            ring = np.searchsorted(self.widths, self.distance(true, self.ignore_index))
            for number, confusion in enumerate(self.rings):
                inside = ring == number
                confusion.update(one[inside], true[inside])

    def merge(self, other: TrimapCurve) -> None:
        """Add what another curve of the same widths has counted."""
        check(other.widths == self.widths, f"other: has widths {other.widths}, wanted {self.widths}")
        for mine, theirs in zip(self.rings, other.rings, strict=True):
            mine.merge(theirs)

    def all_reduce(self) -> None:
        """Sum over all processes, as `ConfusionMatrix.all_reduce`."""
        for ring in self.rings:
            ring.all_reduce()

    def bands(self) -> list[ConfusionMatrix]:
        """The confusion matrix of the band of each width."""
        bands: list[ConfusionMatrix] = []
        for ring in self.rings:
            band = ConfusionMatrix(ring.num_classes, self.ignore_index)
            band.merge(ring)
            if bands:
                band.merge(bands[-1])
            bands.append(band)
        return bands

    def points(
        self, figure: Callable[[ConfusionMatrix], float] = ConfusionMatrix.mean_iou
    ) -> list[tuple[float, float]]:
        """(width, figure) of each band, such as `points(ConfusionMatrix.pixel_accuracy)`."""
        return [(float(width), figure(band)) for width, band in zip(self.widths, self.bands(), strict=True)]


def boundary_band(mask: ArrayLike, width: int) -> NDArray[np.bool_]:
    """The pixels of a mask (H, W) within `width` of its contour, in squares; the image's border is contour too."""
    inside = np.asarray(mask, bool)
    check(inside.ndim == 2, f"mask: wanted shape (H, W), received {inside.shape}")
    check(width >= 1, f"width: wanted at least 1 pixel, received {width}")
    return inside & (_chessboard(np.pad(inside, 1))[1:-1, 1:-1] <= width)


def boundary_width(size: tuple[int, int], ratio: float = 0.02) -> int:
    """`ratio` times the image's diagonal, rounded, at least 1: the width of Boundary IoU's bands."""
    check(ratio > 0, f"ratio: wanted a positive share of the diagonal, received {ratio}")
    return max(1, round(ratio * math.hypot(*size)))


def boundary_iou(
    mask: ArrayLike,  # (H, W) bool, predicted
    target: ArrayLike,  # (H, W) bool
    *,
    ratio: float = 0.02,
) -> float:
    """|M_d ∩ T_d| / |M_d ∪ T_d| of the two masks' inner bands of width d (Cheng et al. 2021, eq. 2); NaN if both empty.

    d is `ratio` of the image's diagonal: 2 % in the paper.
    """
    one, true = np.asarray(mask, bool), np.asarray(target, bool)
    check(one.shape == true.shape, f"mask: wanted the target's size {true.shape}, received {one.shape}")
    width = boundary_width(true.shape, ratio)
    found, wanted = boundary_band(one, width), boundary_band(true, width)
    union = int((found | wanted).sum())
    return int((found & wanted).sum()) / union if union else math.nan


class BoundaryIoU:
    """Boundary IoU of each class, pooled: `hits` and `unions` (K,) int64 are sums over the set.

    Ignored pixels are cut out of labels and target before bands are drawn, so that neither has the void's outline
    alone. A class that is in neither has no figure (NaN), and means leave it out.
    """

    def __init__(self, num_classes: int, *, ratio: float = 0.02, ignore_index: int = 255) -> None:
        self.num_classes = num_classes
        self.ratio = ratio
        self.ignore_index = ignore_index
        self.hits = torch.zeros(num_classes, dtype=torch.int64, device="cpu")
        self.unions = torch.zeros(num_classes, dtype=torch.int64, device="cpu")

    def update(self, labels: ArrayLike | Tensor, target: ArrayLike | Tensor) -> None:
        """Add one image (H, W) or a batch (B, H, W)."""
        values, truth = _maps(labels, target)
        for one, true in zip(values, truth, strict=True):
            width = boundary_width(true.shape, self.ratio)
            counted = true != self.ignore_index
            for number in np.union1d(one[counted], true[counted]).tolist():
                check(
                    0 <= number < self.num_classes,
                    f"labels or target: holds class {number}, wanted 0 to {self.num_classes - 1}",
                )
                found = boundary_band((one == number) & counted, width)
                wanted = boundary_band((true == number) & counted, width)
                self.hits[number] += int((found & wanted).sum())
                self.unions[number] += int((found | wanted).sum())

    def merge(self, other: BoundaryIoU) -> None:
        """Add what another one over the same classes has counted."""
        check(
            other.num_classes == self.num_classes,
            f"other: counts {other.num_classes} classes, wanted {self.num_classes}",
        )
        self.hits += other.hits
        self.unions += other.unions

    def all_reduce(self) -> None:
        """Sum over all processes, as `ConfusionMatrix.all_reduce`."""
        self.hits, self.unions = sum_over_processes(self.hits), sum_over_processes(self.unions)

    def iou_per_class(self) -> Tensor:
        """(K,) float64; NaN where the class is absent from labels and target."""
        return self.hits.double() / self.unions.double()

    def mean_iou(self) -> float:
        """The mean of `iou_per_class` over the classes that have one."""
        return float(self.iou_per_class().nanmean())


def _chessboard(foreground: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Each pixel's distance to the nearest False, diagonal steps counting one; `FAR` where there is none."""
    if foreground.all():
        return np.full(foreground.shape, FAR, np.int32)
    distance: NDArray[np.int32] = ndimage.distance_transform_cdt(foreground, metric="chessboard")
    return distance


def _maps(labels: ArrayLike | Tensor, target: ArrayLike | Tensor) -> tuple[NDArray[np.integer], NDArray[np.integer]]:
    """Both as integer arrays (B, H, W)."""
    arrays = []
    for name, values in (("labels", labels), ("target", target)):
        array = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
        check(array.ndim in (2, 3), f"{name}: wanted shape (H, W) or (B, H, W), received {array.shape}")
        check(array.dtype.kind in "iu", f"{name}: wanted class indices (integers), received {array.dtype}")
        arrays.append(array[None] if array.ndim == 2 else array)
    one, true = arrays
    check(one.shape == true.shape, f"labels: wanted the target's shape {true.shape}, received {one.shape}")
    return one, true
