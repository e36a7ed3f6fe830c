"""The fused mean-field loop on the CPU: the op `densefield::mean_field` for one image, and its gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from densefield.ops.mean_field.gradients import grid_gradients, lattice_gradients
from densefield.ops.mean_field.normalizers import GridNormalizer, Normalizer, grid_normalizer, lattice_normalizer
from densefield.ops.mean_field.structures import FieldGrid, FieldLattice, FieldTerm, Job, layout
from densefield.ops.operator import operator
from densefield.ops.permutohedral import Lattice

_PARTS = len(Lattice._fields)
_KINDS = (torch.int32, torch.float32, torch.int32, torch.int32, torch.int32)  # of a lattice's parts


class DoubtfulScores(ValueError):
    """Scores hold NaN, Inf, or numbers so far apart that the loop's half precision, or any, may not do."""


@operator("mean_field", device_types="cpu", advice="; dense=True, for small images, has it")
def loop(
    scores: Tensor,  # (C, N) float32
    initial: Tensor | None,  # (C, N)
    energies: Sequence[Tensor],  # for each term
    widths: Sequence[Tensor],  # for each term; grid terms first
    features: Sequence[Tensor],  # for each lattice term, (1, d, N)
    lattices: Sequence[Tensor],  # the parts of all lattices, one after the other
    shifts: Sequence[int],  # for each lattice term: its lattices
    size: Sequence[int],  # (H, W) where there are grid terms
    iterations: int,
    normalization: str,
    factors: Sequence[float],  # for each lattice term: what its sums are multiplied by
    half: bool,
    keep: bool,
    trusted: bool,
) -> tuple[Tensor, Tensor]:
    """Give log-marginals (C, N) and, where `keep`, the marginals before each iteration for the backward pass.

    Raises `DoubtfulScores` where it is not `trusted`.
    """
    labels, points = scores.shape
    job = Job(labels, points, size, iterations, half)
    groups, width, dtype = layout(labels, half)
    output = torch.empty_like(scores, memory_format=torch.contiguous_format)
    saved = scores.new_empty((iterations, groups, points, width) if keep else (0,), dtype=dtype)
    _set_kernels(job, energies, widths, lattices, shifts, size, normalization, factors, None)
    job.field.scores = job.hold(scores.contiguous())
    job.field.initial = job.hold(None if initial is None else initial.contiguous())
    job.field.output = job.hold(output)
    job.field.saved = job.hold(saved, dtype) if keep else None
    doubtful = scores.new_zeros(1, dtype=torch.int32)
    job.field.doubtful = None if trusted else job.hold(doubtful, torch.int32)
    job.run("df_mean_field_forward")
    if int(doubtful):
        raise DoubtfulScores
    return output, saved


@loop.fake
def _(
    scores: Tensor,
    initial: Tensor | None,
    energies: Sequence[Tensor],
    widths: Sequence[Tensor],
    features: Sequence[Tensor],
    lattices: Sequence[Tensor],
    shifts: Sequence[int],
    size: Sequence[int],
    iterations: int,
    normalization: str,
    factors: Sequence[float],
    half: bool,
    keep: bool,
    trusted: bool,
) -> tuple[Tensor, Tensor]:
    groups, width, dtype = layout(int(scores.shape[0]), half)
    shape = (iterations, groups, scores.shape[1], width) if keep else (0,)
    return torch.empty_like(scores, memory_format=torch.contiguous_format), scores.new_empty(shape, dtype=dtype)


def _set_kernels(
    job: Job,
    energies: Sequence[Tensor],
    widths: Sequence[Tensor],
    lattices: Sequence[Tensor],
    shifts: Sequence[int],
    size: Sequence[int],
    normalization: str,
    factors: Sequence[float],
    gradients: Sequence[Tensor] | None,
) -> tuple[list[GridNormalizer], list[Normalizer], list[list[Lattice]]]:
    terms, grids, field_lattices, of_grids, of_lattices, built = [], [], [], [], [], []
    n_grids = len(widths) - len(shifts)
    for index, energy in enumerate(energies):
        gradient = None if gradients is None else job.hold(gradients[index], torch.float64)
        address = job.hold(energy.detach().contiguous())
        terms.append(FieldTerm(energies=address, gradient=gradient, kind=energy.dim()))
    for index in range(n_grids):
        theta_y, theta_x = widths[index].tolist() if len(size) == 2 else (1.0, *widths[index].tolist())
        of_grids.append(grid_normalizer(widths[index], size, normalization))
        sides = [job.hold(side) for side in of_grids[-1].axes]
        grids.append(FieldGrid(*sides, theta_y=theta_y, theta_x=theta_x, term=index))
    used = 0
    for index, count in enumerate(shifts):
        mine = [Lattice(*lattices[used + _PARTS * i : used + _PARTS * (i + 1)]) for i in range(count)]
        used += _PARTS * count
        normalizer = lattice_normalizer(mine, normalization, factors[index])
        of_lattices.append(normalizer)
        built.append(mine)
        corners = mine[0].vertices.shape[2]
        scale = factors[index] / count / (1 + 2.0 ** (1 - corners))  # the loop's own sums are bare
        after = normalizer.after * scale
        for lattice in mine:
            field_lattices.append(
                FieldLattice(
                    *(
                        job.hold(part, kind) if part.numel() else None
                        for part, kind in zip(lattice.parts, _KINDS, strict=True)
                    ),
                    job.hold(normalizer.before),
                    job.hold(after),
                    rows=lattice.rows,
                    touched=int(lattice.touched),
                    order=job.hold(lattice.order, torch.int32) if lattice.order.numel() else None,
                    d=corners - 1,
                    term=n_grids + index,
                )
            )
    job.set_kernels(field_lattices, grids, terms)
    return of_grids, of_lattices, built


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    scores, initial, energies, widths, features, lattices, *plain = inputs
    ctx.counts = [len(energies), len(widths), len(features), len(lattices)]
    ctx.plain = plain
    ctx.save_for_backward(scores, initial, *output, *energies, *widths, *features, *lattices)
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, kept: Sequence[Tensor], gradient: Tensor | None, _: Tensor | None) -> tuple[Any, ...]:
    scores, initial, output, saved, *rest = kept
    lists = []
    for count in ctx.counts:
        lists.append(rest[:count])
        rest = rest[count:]
    energies, widths, features, lattices = lists
    shifts, size, iterations, normalization, factors, half, *_ = ctx.plain
    if gradient is None:
        gradient = torch.zeros_like(output)
    labels, points = scores.shape
    wants_widths, wants_features = ctx.needs_input_grad[3], ctx.needs_input_grad[4]
    job = Job(labels, points, size, iterations, half)
    sums = [torch.zeros_like(energy, dtype=torch.float64, memory_format=torch.contiguous_format) for energy in energies]
    of_grids, of_lattices, built = _set_kernels(
        job,
        energies,
        widths,
        lattices,
        shifts,
        size,
        normalization,
        factors,
        sums if any(ctx.needs_input_grad[2]) else None,
    )
    by_scores = torch.empty_like(output)
    by_initial = torch.empty_like(output) if initial is not None else None
    errors = torch.empty_like(saved, dtype=torch.float32) if any(wants_widths) or any(wants_features) else None
    field = job.field
    field.scores = job.hold(scores.contiguous())
    field.initial = job.hold(None if initial is None else initial.contiguous())
    field.output = job.hold(output)
    field.saved = job.hold(saved, layout(labels, half)[2])
    field.grad_output = job.hold(gradient.contiguous())
    field.grad_scores = job.hold(by_scores)
    field.grad_initial = job.hold(by_initial)
    field.errors = job.hold(errors)
    job.run("df_mean_field_backward")

    by_widths: list[Tensor | None] = [None] * len(widths)
    by_features: list[Tensor | None] = [None] * len(features)
    n_grids = len(widths) - len(shifts)
    for index in range(len(widths)):
        wanted = wants_widths[index], index >= n_grids and wants_features[index - n_grids]
        if errors is None or not any(wanted):
            continue
        if index < n_grids:
            by_widths[index] = grid_gradients(saved, errors, energies[index], widths[index], size, of_grids[index])
        else:
            at = index - n_grids
            by_widths[index], by_features[at] = lattice_gradients(
                saved, errors, energies[index], widths[index], features[at], built[at], of_lattices[at], wanted[1]
            )
    by_energies = [total.to(energy) for total, energy in zip(sums, energies, strict=True)]
    # Where a CRF has no lattice there are empty lists of numbers, which torch takes for lists of tensors.
    others: list[list[Any] | None] = [[] if isinstance(given, list) and not given else None for given in ctx.plain]
    return by_scores, by_initial, by_energies, by_widths, by_features, [None] * len(lattices), *others


loop.gradient(_backward, _setup_context, once=True)
