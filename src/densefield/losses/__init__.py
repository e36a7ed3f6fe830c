"""Losses: scores (B, K, H, W) and a target (B, H, W) in, one number to minimise out."""

from densefield.losses.border_weights import border_weights as border_weights
from densefield.losses.class_weights import class_pixels as class_pixels
from densefield.losses.class_weights import median_frequency_weights as median_frequency_weights
from densefield.losses.cross_entropy import CrossEntropy as CrossEntropy
from densefield.losses.cross_entropy import cross_entropy as cross_entropy
from densefield.losses.dice import DiceLoss as DiceLoss
from densefield.losses.dice import dice_loss as dice_loss
from densefield.losses.embedding import EmbeddingLoss as EmbeddingLoss
from densefield.losses.embedding import embedding_loss as embedding_loss
from densefield.losses.embedding import embedding_losses as embedding_losses
