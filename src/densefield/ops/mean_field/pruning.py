"""Labels that cannot matter, left out of the messages."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from densefield.ops.mean_field.terms import Infer, Term


def pruned(
    infer: Infer,
    scores: Tensor,  # (B, C, *size)
    terms: Sequence[Term],
    initial: Tensor | None,
    bound: float,
) -> Tensor:  # (B, C, *size)
    """Infer with the labels whose first marginal reaches `bound` somewhere; the others keep their scores alone.

    Together the others act as one more label that sends and receives no message. For a Potts weight w under the
    symmetric normalisation, whose messages of a label are at most about its marginal, leaving a label out changes its
    log-odds by at most about w · bound in the first update.
    """
    start = torch.log_softmax(scores if initial is None else initial, 1)
    kept = (start.detach().flatten(2).amax((0, 2)) >= math.log(bound)).nonzero().flatten()
    others = (start.detach().flatten(2).amax((0, 2)) < math.log(bound)).nonzero().flatten()
    if not len(others) or any(term.compatibility.dim() == 2 for term in terms):
        return infer(scores, terms, initial)
    # A pixel where all the others cannot be leaves them nothing, and infinities must not meet.
    never = scores[:, others].detach().isinf()
    nothing = never.all(1, keepdim=True)
    aside = scores[:, others].masked_fill(never & nothing, 0.0)
    rest = torch.logsumexp(aside, 1, keepdim=True)
    few = torch.cat([scores[:, kept], rest.masked_fill(nothing, -math.inf)], 1)
    few_initial = None
    if initial is not None:
        few_initial = torch.cat([start[:, kept], torch.logsumexp(start[:, others], 1, keepdim=True)], 1)
    few_terms = []
    for term in terms:
        energies = term.compatibility.expand(scores.shape[1])[kept]
        few_terms.append(replace(term, compatibility=torch.cat([energies, energies.new_zeros(1)])))
    log_few = infer(few, few_terms, few_initial)
    shares = (aside.masked_fill(never, 0.0) - rest + log_few[:, -1:]).masked_fill(never, -math.inf)
    order = torch.argsort(torch.cat([kept, others]))
    return torch.cat([log_few[:, :-1], shares], 1)[:, order]
