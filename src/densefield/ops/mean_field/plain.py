"""The mean field by ops, one after the other: every device, any number of spatial axes, float64."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from densefield.ops.mean_field.filters import Filter, normalized_filter
from densefield.ops.mean_field.terms import Term, compatible


def mean_field_by_ops(
    scores: Tensor,  # (B, C, *size)
    terms: Sequence[Term],
    *,
    iterations: int,
    normalization: str,
    initial: Tensor | None,
    kernel_filter: Callable[[Term, Tensor, str], Filter] = normalized_filter,
) -> Tensor:  # (B, C, *size)
    """Give the log-marginals of `mean_field`; autograd goes through the ops. `kernel_filter`: or `dense_filter`."""
    flat = scores.flatten(2)
    filters = [kernel_filter(term, scores, normalization) for term in terms]
    log_q = torch.log_softmax(flat if initial is None else initial.flatten(2), 1)
    for _ in range(iterations):
        logits = flat
        for kernel, term in zip(filters, terms, strict=True):
            logits = logits - compatible(term.compatibility, kernel(log_q.exp()))
        log_q = torch.log_softmax(logits, 1)
    return log_q.reshape(scores.shape)
