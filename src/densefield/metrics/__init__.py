"""Measures of a segmentation: sums over the whole set first, formulas last."""

from densefield.metrics.boundary import (
    BoundaryIoU,
    TrimapCurve,
    boundary_band,
    boundary_iou,
    class_distance,
    void_distance,
)
from densefield.metrics.cells import SegMeasure, cell_overlaps, seg_measure
from densefield.metrics.confusion import ConfusionMatrix, confusion_counts

__all__ = [
    "BoundaryIoU",
    "ConfusionMatrix",
    "SegMeasure",
    "TrimapCurve",
    "boundary_band",
    "boundary_iou",
    "cell_overlaps",
    "class_distance",
    "confusion_counts",
    "seg_measure",
    "void_distance",
]
