"""The sum over all pairs of points that a lattice approximates, in float64: what its filter is held against."""

from __future__ import annotations

import torch
from torch import Tensor


def dense_filter(
    values: Tensor,  # (B, C, N)
    features: Tensor,  # (B, d, N)
) -> Tensor:  # (B, C, N)
    """Sum exp(-|f_i - f_j|² / 2) values_j; autograd goes through."""
    features = features.double()
    squares = sum((each[:, :, None] - each[:, None, :]) ** 2 for each in features.unbind(1))
    return values.double() @ torch.exp(-squares / 2)
