"""Mean field as the formula says, with whole kernel matrices in float64: what every path is held against."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from densefield.ops.mean_field import GridTerm, LatticeTerm


def dense_mean_field(
    scores: Tensor,  # (B, C, *size)
    terms: Sequence[GridTerm | LatticeTerm],
    *,
    iterations: int,
    normalization: str = "symmetric",
    initial: Tensor | None = None,
) -> Tensor:  # (B, C, *size)
    """Log-marginals after updates log Q <- log softmax(scores - sum_m mu_m Q K_m); autograd goes through."""
    logits = scores.double().flatten(2)
    labels = logits.shape[1]
    pairs = [(energies(term, labels), normalized(kernel(term, scores.shape[2:]), normalization)) for term in terms]
    log_q = torch.log_softmax(logits if initial is None else initial.double().flatten(2), 1)
    for _ in range(iterations):
        log_q = torch.log_softmax(logits - sum(mu @ (log_q.exp() @ k.mT) for mu, k in pairs), 1)
    return log_q.reshape(scores.shape)


def energies(term: GridTerm | LatticeTerm, labels: int) -> Tensor:  # (C, C)
    """The compatibility as a matrix."""
    given = term.compatibility.double()
    return given if given.dim() == 2 else torch.diag(given.expand(labels))


def kernel(term: GridTerm | LatticeTerm, size: Sequence[int]) -> Tensor:  # (B, N, N), or (N, N) for a grid
    """The matrix exp(-sum_a (x_ia - x_ja)² / (2 widths_a²))."""
    places = torch.stack(torch.meshgrid(*(torch.arange(n).double() for n in size), indexing="ij")).flatten(1)
    points = term.features.double() if isinstance(term, LatticeTerm) else places
    scaled = points / term.widths.double()[:, None]
    return torch.exp(-sum((each[..., :, None] - each[..., None, :]) ** 2 for each in scaled.unbind(-2)) / 2)


def normalized(matrix: Tensor, how: str) -> Tensor:
    """D^-½ K D^-½, K D^-1, D^-1 K or K, D the sums of K's rows."""
    mass = matrix.sum(-1)
    before = {"symmetric": -0.5, "before": -1, "after": 0, "none": 0}[how]
    after = {"symmetric": -0.5, "before": 0, "after": -1, "none": 0}[how]
    return (mass**after)[..., :, None] * matrix * (mass**before)[..., None, :]
