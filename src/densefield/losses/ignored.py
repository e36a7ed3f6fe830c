"""Pixels that do not count, whatever they hold."""

from __future__ import annotations

from torch import Tensor


def harmless(
    scores: Tensor,  # (B, K, H, W)
    counted: Tensor,  # (B, H, W) bool
) -> Tensor:  # (B, K, H, W)
    """Give the scores with 0 at pixels that do not count, if any score is NaN or Inf; else as they are.

    Left out of a sum, NaN or all -Inf would come back as a gradient 0 · NaN. A finite score does not, and filling
    copies all scores, there and back, which takes as long as the loss itself; one sum finds NaN and Inf.
    """
    if bool(scores.detach().sum().isfinite()):
        return scores
    return scores.masked_fill(~counted[:, None], 0.0)
