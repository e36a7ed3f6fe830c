"""The pair loss: embeddings alike inside a region and different across its boundary."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from densefield.checks import check, shown
from densefield.ops.local_filter import Border, Distance
from densefield.ops.pair_loss import Options, Reduction, pair_loss


def embedding_loss(
    embeddings: Tensor,  # (B, D, H, W)
    target: Tensor,  # (B, H, W) integers: classes, instances or superpixels
    *,
    window: int = 9,
    rate: int = 1,
    alpha: float = 0.5,
    beta: float = 2.0,
    distance: Distance = "l1",
    border: Border = "valid",
    squared: bool = False,
    reduction: Reduction = "mean",
    ignore_index: int = 255,
) -> Tensor:  # ()
    """Sum max(d_ij - alpha, 0) over pairs of equal and max(beta - d_ij, 0) over pairs of different labels.

    Harley, Derpanis, Kokkinos, "Learning Dense Convolutional Embeddings for Semantic Segmentation", ICLR workshop 2016.
    Pairs (i, j) are ordered, j in the window around i; those with `ignore_index` are left out; the mean is over those
    counted. With `squared` a hinge h counts ½h²: the authors' code sends its gradient h. Border `valid` leaves
    out places outside and centres; `zero` gives places outside the embedding 0 and the label 0; `published` gives them
    distance 0 and label 0, counts centres, and divides by window² B H W. Raises `InputError` for what does not fit.
    """
    return pair_loss(
        embeddings, target, Options(window, rate, alpha, beta, distance, border, squared, reduction, ignore_index)
    )


class EmbeddingLoss(nn.Module):
    """`embedding_loss` with its options remembered."""

    def __init__(
        self,
        window: int = 9,
        rate: int = 1,
        alpha: float = 0.5,
        beta: float = 2.0,
        distance: Distance = "l1",
        border: Border = "valid",
        squared: bool = False,
        reduction: Reduction = "mean",
        ignore_index: int = 255,
    ) -> None:
        super().__init__()
        self.options = Options(window, rate, alpha, beta, distance, border, squared, reduction, ignore_index)

    def forward(
        self,
        embeddings: Tensor,  # (B, D, H, W)
        target: Tensor,  # (B, H, W)
    ) -> Tensor:  # ()
        return pair_loss(embeddings, target, self.options)


def embedding_losses(
    embeddings: Tensor,  # (B, D, H, W)
    target: Tensor,  # (B, H, W) integers: classes, instances or superpixels
    *,
    window: int = 3,
    rates: Sequence[int] = (1, 2, 5),
    alpha: float = 0.5,
    beta: float = 2.0,
    distance: Distance = "l1",
    border: Border = "valid",
    squared: bool = False,
    reduction: Reduction = "mean",
    ignore_index: int = 255,
) -> Tensor:  # ()
    """The sum, each counting alike, of `embedding_loss` at several dilations: what the embedding network learns from.

    The published definition of Harley et al. (2017) has three 3×3 losses at dilation 1, 2 and 5, whose loss weights are
    all 1: eleven pixels across for the price of 24 pairs a pixel.
    """
    listed = isinstance(rates, Sequence) and not isinstance(rates, str) and len(rates) > 0
    check(listed, f"rates: wanted at least one dilation, such as (1, 2, 5), received {shown(rates)}")
    losses = [
        pair_loss(
            embeddings, target, Options(window, rate, alpha, beta, distance, border, squared, reduction, ignore_index)
        )
        for rate in rates
    ]
    return torch.stack(losses).sum()
