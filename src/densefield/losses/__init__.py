"""Losses: scores (B, K, H, W) and a target (B, H, W) in, one number to minimise out."""

from densefield.losses.class_weights import class_pixels, median_frequency_weights
from densefield.losses.cross_entropy import CrossEntropy, cross_entropy

__all__ = ["CrossEntropy", "class_pixels", "cross_entropy", "median_frequency_weights"]
