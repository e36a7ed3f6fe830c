"""The dense sum that the lattice approximates: for tests, small inputs and gradients that must be exact."""

from __future__ import annotations

import torch
from torch import Tensor

from densefield.ops.precision import matmul


def dense_filter(
    values: Tensor,  # (B, C, N)
    features: Tensor,  # (B, d, N)
) -> Tensor:  # (B, C, N)
    """Sum exp(-|f_i - f_j|² / 2) values_j over all pairs; autograd goes through. O(N²) time and memory."""
    return matmul(values, dense_kernel(features))


def dense_kernel(
    features: Tensor,  # (B, d, N)
) -> Tensor:  # (B, N, N)
    """Give the kernel's matrix exp(-|f_i - f_j|² / 2), built a dimension at a time to keep rounding small."""
    squares = features.new_zeros((features.shape[0], features.shape[2], features.shape[2]))
    for feature in features.unbind(1):
        squares = squares + (feature[:, :, None] - feature[:, None, :]).square()
    return torch.exp(-0.5 * squares)
