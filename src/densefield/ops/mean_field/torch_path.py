"""The mean field by ops, one after the other: every device, any number of spatial axes, float64."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from densefield.ops.mean_field.filters import normalized_filter
from densefield.ops.mean_field.reference import compatible
from densefield.ops.mean_field.terms import GridTerm, LatticeTerm


def mean_field_by_ops(
    scores: Tensor,  # (B, C, *size)
    terms: Sequence[GridTerm | LatticeTerm],
    *,
    iterations: int,
    normalization: str,
    initial: Tensor | None,
) -> Tensor:  # (B, C, *size)
    """Give the log-marginals of `mean_field`; autograd goes through the ops."""
    flat = scores.flatten(2)
    filters = [normalized_filter(term, scores, normalization) for term in terms]
    log_q = torch.log_softmax(flat if initial is None else initial.flatten(2), 1)
    for _ in range(iterations):
        logits = flat
        for kernel, term in zip(filters, terms, strict=True):
            logits = logits - compatible(term.compatibility, kernel(log_q.exp()))
        log_q = torch.log_softmax(logits, 1)
    return log_q.reshape(scores.shape)
