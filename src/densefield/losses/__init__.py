"""Losses: scores (B, K, H, W) and a target (B, H, W) in, one number to minimise out."""

from densefield.losses.border_weights import border_weights
from densefield.losses.class_weights import class_pixels, median_frequency_weights
from densefield.losses.cross_entropy import CrossEntropy, cross_entropy
from densefield.losses.dice import DiceLoss, dice_loss
from densefield.losses.embedding import EmbeddingLoss, embedding_loss, embedding_losses

__all__ = [
    "CrossEntropy",
    "DiceLoss",
    "EmbeddingLoss",
    "border_weights",
    "class_pixels",
    "cross_entropy",
    "dice_loss",
    "embedding_loss",
    "embedding_losses",
    "median_frequency_weights",
]
