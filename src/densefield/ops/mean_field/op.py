"""`mean_field`: the inference of a fully connected CRF, by the fused loop where it serves, else op by op."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch._compile import _disable_dynamo

from densefield.checks import check, check_floating, check_tensor, finite_number, shown, whole_number
from densefield.ops import native
from densefield.ops.mean_field.filters import lattices_of, true_mass_factor
from densefield.ops.mean_field.loop import DoubtfulScores, loop
from densefield.ops.mean_field.pruning import pruned
from densefield.ops.mean_field.scores import FLOOR, check_scores, levelled
from densefield.ops.mean_field.terms import NORMALIZATIONS, GridTerm, LatticeTerm, check_terms
from densefield.ops.mean_field.torch_path import mean_field_by_ops
from densefield.ops.permutohedral import Lattice, lattice_filter

MOST_LATTICES = 128  # as csrc/crf/field_limits.h has it


@_disable_dynamo  # a compiled graph could not begin the loop again where half precision does not do
def mean_field(
    scores: Tensor,  # (B, C, *size): (N,), (H, W), (D, H, W) ...
    terms: Sequence[GridTerm | LatticeTerm],
    *,
    iterations: int = 10,
    normalization: str = "symmetric",
    initial: Tensor | None = None,  # (B, C, *size)
    prune: float = 0.0,
    half: bool = True,
) -> Tensor:  # (B, C, *size)
    """Give log-marginals after some updates Q <- softmax(scores - sum_m mu_m K_m Q) (Krähenbühl and Koltun 2011).

    `scores` are negative energies, log p; mu_m a term's compatibility; K_m its kernel, a pixel's own message included,
    normalised D^-½KD^-½ ("symmetric"), KD^-1 ("before"), D^-1K ("after") or scaled to the exact kernel's sums ("none").
    Begins with softmax(scores), or with log-marginals `initial`. Differentiable by all tensors. `prune` leaves labels
    whose first marginal is below it everywhere out of the messages. Float32 on the CPU runs as one fused loop, which
    stores marginals in half precision where `half`; all else runs op by op. A label whose score is -Inf at a pixel has
    the marginal 0 there. No image depends on the others of its batch. Raises `InputError` for what does not fit.
    """
    check_tensor("scores", scores, "a tensor (B, C, *size)")
    check(
        scores.dim() >= 3 and scores.numel() > 0,
        f"scores: wanted shape (B, C, *size), nothing empty, received {tuple(scores.shape)}",
    )
    check(scores.is_floating_point(), f"scores: wanted a floating-point tensor, received {scores.dtype}")
    if initial is not None:
        check_floating("initial", initial)
        check(
            initial.shape == scores.shape,
            f"initial: wanted shape {tuple(scores.shape)} as scores, received {tuple(initial.shape)}",
        )
        check_scores("initial", initial)
    iterations = whole_number("iterations", iterations, 0)
    known = isinstance(normalization, str) and normalization in NORMALIZATIONS
    check(known, f"normalization: wanted one of {NORMALIZATIONS}, received {shown(normalization)}")
    check(0 <= finite_number("prune", prune) < 1, f"prune: wanted a marginal from 0 to below 1, received {prune}")
    check_terms(terms, scores)
    kind = scores.dtype
    dtype = torch.float64 if kind == torch.float64 else torch.float32
    scores = scores.to(dtype)
    initial = None if initial is None else initial.to(dtype)
    terms = [_cast(term, scores) for term in terms]
    if prune > 0:

        def with_fewer(item: Tensor, mine: Sequence[GridTerm | LatticeTerm], start: Tensor | None) -> Tensor:
            return pruned(mean_field, item, mine, iterations, normalization, start, prune, half)

        return each_item(with_fewer, levelled(scores), terms, initial).to(kind)
    if iterations == 0:
        level = levelled(scores)
        return torch.log_softmax(level if initial is None else initial, 1).to(kind)
    if _fused(scores, terms):

        def fused(item: Tensor, mine: Sequence[GridTerm | LatticeTerm], start: Tensor | None) -> Tensor:
            return _one(item, mine, iterations, normalization, start, half)

        return each_item(fused, scores, terms, initial).to(kind)

    def by_ops(item: Tensor, mine: Sequence[GridTerm | LatticeTerm], start: Tensor | None) -> Tensor:
        return mean_field_by_ops(item, mine, iterations=iterations, normalization=normalization, initial=start)

    level = levelled(scores)
    # Other devices want whole batches; their matrix products may round an image otherwise beside others.
    alone = scores.device.type == "cpu"
    return (each_item(by_ops, level, terms, initial) if alone else by_ops(level, terms, initial)).to(kind)


def each_item(
    infer: Callable[[Tensor, Sequence[GridTerm | LatticeTerm], Tensor | None], Tensor],
    scores: Tensor,  # (B, C, *size)
    terms: Sequence[GridTerm | LatticeTerm],
    initial: Tensor | None,
) -> Tensor:  # (B, C, *size)
    """Infer image by image, so that none depends on the others of its batch."""
    items = [
        infer(
            scores[b : b + 1],
            [_item(term, b) for term in terms],
            None if initial is None else initial[b : b + 1],
        )
        for b in range(scores.shape[0])
    ]
    return items[0] if len(items) == 1 else torch.cat(items)


def _cast(term: GridTerm | LatticeTerm, like: Tensor) -> GridTerm | LatticeTerm:
    compatibility = term.compatibility.to(like.device, like.dtype)
    if isinstance(term, GridTerm):
        return GridTerm(term.widths.to(like.dtype), compatibility)
    return replace(
        term,
        features=term.features.to(like.device, like.dtype),
        widths=term.widths.to(like.device, like.dtype),
        compatibility=compatibility,
    )


def _fused(scores: Tensor, terms: Sequence[GridTerm | LatticeTerm]) -> bool:
    axes = scores.dim() - 2
    grids = any(isinstance(term, GridTerm) for term in terms)
    return (
        scores.device.type == "cpu"
        and scores.dtype == torch.float32
        and scores.shape[1] <= 2048
        and len(terms) <= 8
        and sum(_lattices(term) for term in terms) <= MOST_LATTICES
        and (not grids or axes <= 2)
        and native.available()
    )


def _lattices(term: GridTerm | LatticeTerm) -> int:
    if isinstance(term, GridTerm):
        return 0
    given = term.lattice
    return term.shifts if given is None else 1 if isinstance(given, Lattice) else len(given)


def _item(term: GridTerm | LatticeTerm, item: int) -> GridTerm | LatticeTerm:
    if isinstance(term, GridTerm):
        return term
    lattices = term.lattice
    if lattices is not None:
        every = (lattices,) if isinstance(lattices, Lattice) else tuple(lattices)
        lattices = tuple(lattice.item(item) for lattice in every)
    return replace(term, features=term.features[item : item + 1], lattice=lattices)


def _one(
    scores: Tensor,  # (1, C, *size)
    terms: Sequence[GridTerm | LatticeTerm],
    iterations: int,
    normalization: str,
    initial: Tensor | None,
    half: bool,
) -> Tensor:  # (1, C, *size)
    grids = [term for term in terms if isinstance(term, GridTerm)]
    others = [term for term in terms if isinstance(term, LatticeTerm)]
    tensors = [scores, initial, *(t for term in terms for t in (term.compatibility, term.widths))]
    tensors += [term.features for term in others]
    keep = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)
    lattices = [lattices_of(term, entries=keep) for term in others]  # the loop sorts for itself, gradients read them
    ordered: list[GridTerm | LatticeTerm] = [*grids, *others]
    factors = [1.0] * len(others)
    if normalization == "none":
        for index, (term, built) in enumerate(zip(others, lattices, strict=True)):
            ones = scores.new_ones((1, 1, math.prod(scores.shape[2:])))
            mass = sum(lattice_filter(ones, lattice) for lattice in built) / len(built)
            assert isinstance(mass, Tensor)
            factors[index] = float(true_mass_factor(term, mass))
    arguments = (
        None if initial is None else initial[0].flatten(1),
        [term.compatibility for term in ordered],
        [term.widths.cpu() for term in ordered],
        [term.features for term in others],
        [part for built in lattices for lattice in built for part in lattice],
        [len(built) for built in lattices],
        list(scores.shape[2:]),
        iterations,
        normalization,
        factors,
    )
    try:
        log_q, _ = loop(scores[0].flatten(1), *arguments, half, keep, False)
    except DoubtfulScores:
        level = levelled(scores)[0].flatten(1)
        within = level.clamp_min(FLOOR)
        log_q, _ = loop(within, *arguments, False, keep, True)
        log_q = log_q + (level - within)
    result: Tensor = log_q.reshape(scores.shape)
    return result
