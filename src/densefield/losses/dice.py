"""Soft Dice loss: overlap of the whole class instead of a sum over pixels."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from densefield.checks import check, check_map, check_target, finite_number
from densefield.losses.ignored import harmless


def dice_loss(
    scores: Tensor,  # (B, K, H, W), before softmax
    target: Tensor,  # (B, H, W), integers
    *,
    squared: bool = True,
    ignore_index: int = 255,
    eps: float = 1e-6,
) -> Tensor:
    """1 - the mean over classes of D = (2 Σ p g + eps) / (Σ p² + Σ g² + eps), p = softmax(scores), g = one-hot target.

    Sums run over every counted pixel of the batch (V-Net, Milletari et al. 2016, section 3). `squared=False` takes
    Σ p + Σ g below the line instead. The mean is over the classes that occur in the target: a class that is not
    there has overlap 0 whatever the network says, and its false pixels already cost the classes that are. The loss
    is 0 when nothing counts. Raises `InputError` for shapes that do not fit and for classes outside 0 … K-1.
    """
    check_map("scores", scores)
    num_classes = scores.shape[1]
    check_target("target", target, scores, num_classes, ignore_index)
    eps = finite_number("eps", eps)
    check(eps > 0, f"eps: wanted a positive number, received {eps}")
    if scores.dtype in (torch.float16, torch.bfloat16):
        scores = scores.float()
    counted = target != ignore_index
    # (B, H, W, K) → (B, K, H, W); ignored pixels are 0 in every class, here and below.
    truth = torch.nn.functional.one_hot(target.long().masked_fill(~counted, 0), num_classes).movedim(-1, 1)
    truth = truth.to(scores.dtype) * counted[:, None]
    chances = harmless(scores, counted).softmax(1) * counted[:, None]
    overlap = (chances * truth).sum((0, 2, 3))
    pixels = truth.sum((0, 2, 3))
    mass = chances.square().sum((0, 2, 3)) if squared else chances.sum((0, 2, 3))
    dice = (2 * overlap + eps) / (mass + pixels + eps)
    present = (pixels > 0).to(scores.dtype)
    return ((1 - dice) * present).sum() / present.sum().clamp(min=1)


class DiceLoss(nn.Module):
    """Remembers `squared`, `ignore_index` and `eps` of `dice_loss`."""

    def __init__(self, *, squared: bool = True, ignore_index: int = 255, eps: float = 1e-6) -> None:
        super().__init__()
        self.squared = squared
        self.ignore_index = ignore_index
        self.eps = eps

    def forward(self, scores: Tensor, target: Tensor) -> Tensor:
        return dice_loss(scores, target, squared=self.squared, ignore_index=self.ignore_index, eps=self.eps)
