"""Pixel-wise cross-entropy with ignored pixels, class weights and a weight map."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from densefield.checks import check, check_floating, check_map, check_target, shown
from densefield.losses.ignored import harmless

Reduction = Literal["mean", "sum", "none"]


def cross_entropy(
    scores: Tensor,  # (B, K, H, W), before softmax
    target: Tensor,  # (B, H, W), integers
    *,
    class_weights: Tensor | None = None,  # (K,)
    pixel_weights: Tensor | None = None,  # (B, H, W)
    ignore_index: int = 255,
    reduction: Reduction = "mean",
) -> Tensor:
    """Cross-entropy -log softmax(scores)[target], each pixel weighted by its class and by its place.

    A pixel's weight is w = class_weights[target] · pixel_weights, and 0 where the target is `ignore_index`. The
    reduction "mean" is Σ w l / Σ w (0 when nothing counts, never NaN), "sum" is Σ w l (U-Net, eq. 1), and "none"
    keeps the map (B, H, W). Half-precision scores are widened to float32 first.

    Raises `InputError` for shapes that do not fit and for classes outside 0 … K-1.
    """
    check_map("scores", scores)
    num_classes = scores.shape[1]
    check_target("target", target, scores, num_classes, ignore_index)
    known = isinstance(reduction, str) and reduction in ("mean", "sum", "none")
    check(known, f"reduction: wanted 'mean', 'sum' or 'none', received {shown(reduction)}")
    ignore_index = int(ignore_index)
    if scores.dtype in (torch.float16, torch.bfloat16):
        scores = scores.float()
    target = target.long()
    counted = target != ignore_index
    scores = harmless(scores, counted)
    if class_weights is not None:
        check_floating("class_weights", class_weights)
        check(
            tuple(class_weights.shape) == (num_classes,),
            f"class_weights: wanted shape ({num_classes},), received {tuple(class_weights.shape)}",
        )
        class_weights = class_weights.to(scores)
    if pixel_weights is not None:
        check_floating("pixel_weights", pixel_weights)
        check(
            pixel_weights.shape == target.shape,
            f"pixel_weights: wanted shape {tuple(target.shape)}, received {tuple(pixel_weights.shape)}",
        )
        # A weight map may hold anything, NaN included, where the target is ignored.
        pixel_weights = pixel_weights.to(scores).masked_fill(~counted, 0)

    losses = F.cross_entropy(scores, target, weight=class_weights, ignore_index=ignore_index, reduction="none")
    if pixel_weights is not None:
        losses = losses * pixel_weights
    if reduction == "none":
        return losses
    if reduction == "sum":
        return losses.sum()
    weights = counted.to(scores.dtype)
    if class_weights is not None:
        weights = weights * class_weights[target.masked_fill(~counted, 0)]
    if pixel_weights is not None:
        weights = weights * pixel_weights
    total = weights.sum()
    return losses.sum() / torch.where(total == 0, torch.ones_like(total), total)


class CrossEntropy(nn.Module):
    """Remembers the class weights (a buffer), `ignore_index` and `reduction` of `cross_entropy`."""

    class_weights: Tensor | None

    def __init__(
        self, *, class_weights: Tensor | None = None, ignore_index: int = 255, reduction: Reduction = "mean"
    ) -> None:
        super().__init__()
        self.register_buffer("class_weights", class_weights)
        self.ignore_index = ignore_index
        self.reduction: Reduction = reduction

    def forward(self, scores: Tensor, target: Tensor, pixel_weights: Tensor | None = None) -> Tensor:
        return cross_entropy(
            scores,
            target,
            class_weights=self.class_weights,
            pixel_weights=pixel_weights,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
        )
