"""The pair loss: embeddings alike inside a region and different across its boundary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from densefield.checks import check, check_tensor, finite_number, shown, whole_number
from densefield.ops.local_filter import Border, Distance, check_embeddings, check_window, pair_loss

Reduction = Literal["mean", "sum"]


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
    check_window(window, rate, distance, border)
    check_embeddings(embeddings)
    wanted = (embeddings.shape[0], *embeddings.shape[2:])
    check_tensor("target", target, f"an integer tensor {wanted}")
    check(
        tuple(target.shape) == wanted,
        f"target: wanted shape {wanted} to fit embeddings {tuple(embeddings.shape)}, received {tuple(target.shape)}",
    )
    check(
        not target.is_floating_point() and not target.is_complex(),
        f"target: wanted an integer tensor of labels, received {target.dtype}",
    )
    check(
        target.device == embeddings.device,
        f"target: wanted on the device of embeddings, {embeddings.device}, received {target.device}",
    )
    check(finite_number("alpha", alpha) >= 0, f"alpha: wanted a distance of at least 0, received {alpha}")
    check(finite_number("beta", beta) >= 0, f"beta: wanted a distance of at least 0, received {beta}")
    ignore_index = whole_number("ignore_index", ignore_index, -(2**31), 2**31 - 1)
    known = isinstance(reduction, str) and reduction in ("mean", "sum")
    check(known, f"reduction: wanted mean or sum, received {shown(reduction)}")
    wide = embeddings.to(torch.promote_types(embeddings.dtype, torch.float32))
    loss: Tensor = pair_loss(
        wide,
        target,
        ignore_index,
        window,
        rate,
        float(alpha),
        float(beta),
        distance,
        border,
        squared,
        reduction == "mean",
        torch.is_grad_enabled() and embeddings.requires_grad,
    )[0]
    return loss


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
        self.window = window
        self.rate = rate
        self.alpha = alpha
        self.beta = beta
        self.distance: Distance = distance
        self.border: Border = border
        self.squared = squared
        self.reduction: Reduction = reduction
        self.ignore_index = ignore_index

    def forward(
        self,
        embeddings: Tensor,  # (B, D, H, W)
        target: Tensor,  # (B, H, W)
    ) -> Tensor:  # ()
        return embedding_loss(
            embeddings,
            target,
            window=self.window,
            rate=self.rate,
            alpha=self.alpha,
            beta=self.beta,
            distance=self.distance,
            border=self.border,
            squared=self.squared,
            reduction=self.reduction,
            ignore_index=self.ignore_index,
        )


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
        embedding_loss(
            embeddings,
            target,
            window=window,
            rate=rate,
            alpha=alpha,
            beta=beta,
            distance=distance,
            border=border,
            squared=squared,
            reduction=reduction,
            ignore_index=ignore_index,
        )
        for rate in rates
    ]
    return torch.stack(losses).sum()
