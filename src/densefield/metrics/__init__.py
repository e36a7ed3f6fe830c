"""Measures of a segmentation: sums over the whole set first, formulas last."""

from densefield.metrics.confusion import ConfusionMatrix, confusion_counts

__all__ = ["ConfusionMatrix", "confusion_counts"]
