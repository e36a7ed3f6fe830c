"""`mean_field`: the inference of a fully connected CRF, by the fused loop where it serves, else op by op."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch._compile import _disable_dynamo

from densefield.checks import check, check_floating, check_tensor, finite_number, shown, whole_number
from densefield.ops.mean_field import native
from densefield.ops.mean_field.gradients import grid_gradients, lattice_gradients
from densefield.ops.mean_field.plain import mean_field_by_ops
from densefield.ops.mean_field.pruning import pruned
from densefield.ops.mean_field.scores import FLOOR, check_scores, levelled
from densefield.ops.mean_field.terms import (
    NORMALIZATIONS,
    GridTerm,
    LatticeTerm,
    Term,
    check_terms,
    each_item,
    lattices_of,
)
from densefield.ops.native import available
from densefield.ops.operator import operator

MOST_LABELS, MOST_TERMS, MOST_LATTICES = 2048, 8, 128  # as csrc/crf/field_limits.h has it


@_disable_dynamo  # a compiled graph could not begin the loop again where half precision does not do
def mean_field(
    scores: Tensor,  # (B, C, *size): (N,), (H, W), (D, H, W) ...
    terms: Sequence[Term],
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
    terms = [term.to(scores) for term in terms]

    def by_loop(item: Tensor, mine: Sequence[Term], start: Tensor | None) -> Tensor:
        return _by_loop(item, start, _field(item, mine, start, iterations, normalization, half))

    def by_ops(item: Tensor, mine: Sequence[Term], start: Tensor | None) -> Tensor:
        return mean_field_by_ops(item, mine, iterations=iterations, normalization=normalization, initial=start)

    def whole(item: Tensor, mine: Sequence[Term], start: Tensor | None) -> Tensor:
        return mean_field(item, mine, iterations=iterations, normalization=normalization, initial=start, half=half)

    def with_fewer(item: Tensor, mine: Sequence[Term], start: Tensor | None) -> Tensor:
        return pruned(whole, item, mine, start, prune)

    if prune > 0:
        return each_item(with_fewer, levelled(scores), terms, initial).to(kind)
    if iterations == 0:
        level = levelled(scores)
        return torch.log_softmax(level if initial is None else initial, 1).to(kind)
    if _loop_serves(scores, terms):
        return each_item(by_loop, scores, terms, initial).to(kind)
    # Other devices want whole batches; their matrix products may round an image otherwise beside others.
    alone = scores.device.type == "cpu"
    level = levelled(scores)
    return (each_item(by_ops, level, terms, initial) if alone else by_ops(level, terms, initial)).to(kind)


def _loop_serves(scores: Tensor, terms: Sequence[Term]) -> bool:
    others = [term for term in terms if isinstance(term, LatticeTerm)]
    lattices = sum(term.shifts if term.built is None else len(term.built) for term in others)
    return (
        scores.device.type == "cpu"
        and scores.dtype == torch.float32
        and scores.shape[1] <= MOST_LABELS
        and len(terms) <= MOST_TERMS
        and lattices <= MOST_LATTICES
        and (len(others) == len(terms) or scores.dim() <= 4)
        and available()
    )


def _field(
    scores: Tensor,  # (1, C, *size)
    terms: Sequence[Term],
    initial: Tensor | None,
    iterations: int,
    normalization: str,
    half: bool,
) -> native.Field:
    grids = [term for term in terms if isinstance(term, GridTerm)]
    others = [term for term in terms if isinstance(term, LatticeTerm)]
    ordered: list[Term] = [*grids, *others]
    tensors = [scores, initial, *(t for term in terms for t in (term.compatibility, term.widths))]
    tensors += [term.features for term in others]
    keep = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)
    lattices = [lattices_of(term, entries=keep) for term in others]  # the loop sorts for itself, gradients read them
    return native.Field(
        [term.compatibility for term in ordered],
        [term.widths.cpu() for term in ordered],
        [term.features for term in others],
        [part for built in lattices for lattice in built for part in lattice],
        [len(built) for built in lattices],
        iterations,
        normalization,
        half,
        keep,
    )


def _by_loop(
    scores: Tensor,  # (1, C, *size)
    initial: Tensor | None,
    field: native.Field,
) -> Tensor:  # (1, C, *size)
    start = None if initial is None else initial[0]
    log_q, _, doubtful = loop(scores[0], start, *field)
    if int(doubtful):
        level = levelled(scores)[0]
        within = level.clamp_min(FLOOR)
        log_q, *_ = loop(within, start, *field._replace(half=False))
        log_q = log_q + (level - within)
    result: Tensor = log_q[None]
    return result


@operator("mean_field", device_types="cpu", advice="; dense=True, for small images, has it")
def loop(
    scores: Tensor,  # (C, *size) float32
    initial: Tensor | None,  # (C, *size)
    energies: Sequence[Tensor],  # this and all that follows: a `native.Field`
    widths: Sequence[Tensor],
    features: Sequence[Tensor],
    lattices: Sequence[Tensor],
    counts: Sequence[int],
    iterations: int,
    normalization: str,
    half: bool,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Run the fused loop on one image, as `native.forward` does."""
    terms = energies, widths, features, lattices, counts
    return native.forward(scores, initial, native.Field(*terms, iterations, normalization, half, keep))


@loop.fake
def _(scores: Tensor, initial: Tensor | None, *field: Any) -> tuple[Tensor, Tensor, Tensor]:
    return native.room(scores, native.Field(*field))


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    scores, initial, *field = inputs
    lists, ctx.plain = field[:4], field[4:]
    ctx.lengths = [len(each) for each in lists]
    ctx.save_for_backward(scores, initial, *output[:2], *(tensor for each in lists for tensor in each))
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, kept: Sequence[Tensor], gradient: Tensor | None, *_: Tensor | None) -> tuple[Any, ...]:
    scores, initial, log_q, saved, *rest = kept
    tensors = iter(rest)
    energies, widths, features, lattices = ([next(tensors) for _ in range(length)] for length in ctx.lengths)
    field = native.Field(energies, widths, features, lattices, *ctx.plain)
    _, _, by_energies, by_widths, by_features, *_ = ctx.needs_input_grad
    found = native.backward(
        native.Kept(scores, initial, log_q, saved),
        field,
        torch.zeros_like(log_q) if gradient is None else gradient,
        by_energies=any(by_energies),
        by_kernels=any(by_widths) or any(by_features),
    )
    of_widths: list[Tensor | None] = [None] * len(widths)
    of_features: list[Tensor | None] = [None] * len(features)
    for index, grid in enumerate(found.grids):
        if found.errors is not None and by_widths[index]:
            of_widths[index] = grid_gradients(saved, found.errors, energies[index], widths[index], grid)
    for at, kernel in enumerate(found.lattices):
        index = field.n_grids + at
        if found.errors is not None and (by_widths[index] or by_features[at]):
            given = energies[index], widths[index], features[at]
            of_widths[index], of_features[at] = lattice_gradients(saved, found.errors, *given, kernel, by_features[at])
    # Where a CRF has no lattice there are empty lists of numbers, which torch takes for lists of tensors.
    others: list[list[Any] | None] = [[] if isinstance(each, list) and not each else None for each in ctx.plain]
    none = [None] * len(lattices)
    return found.scores, found.initial, found.energies, of_widths, of_features, none, *others


loop.gradient(_backward, _setup_context, once=True)
