"""The O(N²) mean field with whole kernel matrices: what every fast path is held against."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from densefield.ops.mean_field.terms import GridTerm, LatticeTerm
from densefield.ops.permutohedral.reference import dense_kernel
from densefield.ops.precision import matmul


def dense_mean_field(
    scores: Tensor,  # (B, C, *size)
    terms: Sequence[GridTerm | LatticeTerm],
    *,
    iterations: int,
    normalization: str = "symmetric",
    initial: Tensor | None = None,
) -> Tensor:  # (B, C, *size)
    """Give the log-marginals of `mean_field` with exact kernels; autograd goes through everything."""
    flat = scores.flatten(2)
    kernels = [normalized(term_kernel(term, scores), normalization) for term in terms]
    log_q = torch.log_softmax(flat if initial is None else initial.flatten(2), 1)
    for _ in range(iterations):
        logits = flat
        for kernel, term in zip(kernels, terms, strict=True):
            logits = logits - compatible(term.compatibility, matmul(log_q.exp(), kernel.transpose(1, 2)))
        log_q = torch.log_softmax(logits, 1)
    return log_q.reshape(scores.shape)


def term_kernel(term: GridTerm | LatticeTerm, scores: Tensor) -> Tensor:  # (B, N, N)
    """Give a term's kernel matrix."""
    if isinstance(term, LatticeTerm):
        return dense_kernel(term.features / term.widths[:, None])
    axes = [torch.arange(size, dtype=scores.dtype, device=scores.device) for size in scores.shape[2:]]
    places = torch.cartesian_prod(*axes).reshape(-1, len(axes)).T
    return dense_kernel((places / term.widths[:, None])[None]).expand(scores.shape[0], -1, -1)


def normalized(kernel: Tensor, normalization: str) -> Tensor:  # (B, N, N)
    """Divide a kernel matrix by its row sums: on both sides by their roots, before, after, or not at all."""
    mass = kernel.sum(-1)
    if normalization == "symmetric":
        return kernel / (mass[:, :, None] * mass[:, None, :]).sqrt()
    if normalization == "before":
        return kernel / mass[:, None, :]
    return kernel / mass[:, :, None] if normalization == "after" else kernel


def compatible(
    energies: Tensor,  # (), (C,) or (C, C)
    message: Tensor,  # (B, C, N)
) -> Tensor:  # (B, C, N)
    """Multiply a message by the compatibility."""
    if energies.dim() == 2:
        return matmul(energies, message)
    return energies.reshape(-1, 1) * message
