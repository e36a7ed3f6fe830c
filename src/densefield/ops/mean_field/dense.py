"""Exact kernels, as whole O(N²) matrices: what small images may have in place of lattices."""

from __future__ import annotations

import torch
from torch import Tensor

from densefield.ops.mean_field.filters import Filter
from densefield.ops.mean_field.terms import LatticeTerm, Term
from densefield.ops.precision import matmul


def dense_filter(term: Term, scores: Tensor, normalization: str) -> Filter:
    """Give the exact kernel's filter, as `normalized_filter` gives the lattice's."""
    kernel = _normalized(_matrix(term, scores), normalization).transpose(1, 2)
    return lambda values: matmul(values, kernel)


def _matrix(term: Term, scores: Tensor) -> Tensor:  # (B, N, N)
    """Give exp(-|f_i - f_j|² / 2), built a dimension at a time to keep rounding small."""
    if isinstance(term, LatticeTerm):
        features = term.features / term.widths[:, None]
    else:
        axes = [torch.arange(size, dtype=scores.dtype, device=scores.device) for size in scores.shape[2:]]
        places = torch.cartesian_prod(*axes).reshape(-1, len(axes)).T
        features = (places / term.widths[:, None])[None]
    squares = features.new_zeros((features.shape[0], features.shape[2], features.shape[2]))
    for feature in features.unbind(1):
        squares = squares + (feature[:, :, None] - feature[:, None, :]).square()
    return torch.exp(-0.5 * squares).expand(scores.shape[0], -1, -1)


def _normalized(kernel: Tensor, normalization: str) -> Tensor:  # (B, N, N)
    """Divide a kernel matrix by its row sums: on both sides by their roots, before, after, or not at all."""
    mass = kernel.sum(-1)
    if normalization == "symmetric":
        return kernel / (mass[:, :, None] * mass[:, None, :]).sqrt()
    if normalization == "before":
        return kernel / mass[:, None, :]
    return kernel / mass[:, :, None] if normalization == "after" else kernel
