"""Measures of a segmentation: sums over the whole set first, formulas last."""

from densefield.metrics.boundary import (
    BoundaryIoU,
    TrimapCurve,
    boundary_band,
    boundary_iou,
    class_distance,
    void_distance,
)
from densefield.metrics.confusion import ConfusionMatrix, confusion_counts

__all__ = [
    "BoundaryIoU",
    "ConfusionMatrix",
    "TrimapCurve",
    "boundary_band",
    "boundary_iou",
    "class_distance",
    "confusion_counts",
    "void_distance",
]
