"""The pairwise terms of a dense CRF: a kernel with its widths, and the compatibility of labels under it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from densefield.checks import check, check_finite
from densefield.ops.permutohedral.lattice import Lattice

NORMALIZATIONS = ("symmetric", "before", "after", "none")


@dataclass(frozen=True)
class GridTerm:
    """An exact Gaussian of grid positions, exp(-sum_a (p_a - q_a)² / (2 widths_a²))."""

    widths: Tensor  # (number of spatial axes,) in pixels
    compatibility: Tensor  # an energy: () for c·I, (C,) a diagonal, (C, C) a symmetric matrix


@dataclass(frozen=True)
class LatticeTerm:
    """A Gaussian of feature vectors, exp(-sum_a (x_ia - x_ja)² / (2 widths_a²)), filtered by a permutohedral lattice.

    `lattice`, where it is built already: that of `features / widths[:, None]`, or one for each shift
    (`shifted_lattices`). `shifts` lattices, shifted against each other, are averaged: slower, more accurate. Where
    `fill_rows` is not 0, points are added to each item's lattice up to so many (`build_lattice`), which is stretched,
    more where it was filled, less where it was not, to make up for its kernel's shape: less error for little time.
    """

    features: Tensor  # (B, d, N)
    widths: Tensor  # (d,)
    compatibility: Tensor  # as in GridTerm
    lattice: Lattice | Sequence[Lattice] | None = None
    shifts: int = 1
    fill_rows: int = 0


def check_terms(terms: Sequence[GridTerm | LatticeTerm], scores: Tensor) -> None:
    """Raise `InputError` where a term does not fit `scores` (B, C, *size)."""
    labels, axes = scores.shape[1], scores.dim() - 2
    points = math.prod(scores.shape[2:])
    for index, term in enumerate(terms):
        name = f"terms[{index}]"
        energies = term.compatibility
        check(
            tuple(energies.shape) in ((), (labels,), (labels, labels)),
            f"{name}.compatibility: wanted shape (), ({labels},) or ({labels}, {labels}), "
            f"received {tuple(energies.shape)}",
        )
        check_finite(f"{name}.compatibility", energies)
        if isinstance(term, GridTerm):
            wanted = axes
        else:
            shape = tuple(term.features.shape)
            check(
                len(shape) == 3 and shape[0] == scores.shape[0] and shape[2] == points,
                f"{name}.features: wanted shape ({scores.shape[0]}, d, {points}) to fit scores {tuple(scores.shape)}, "
                f"received {shape}",
            )
            check(1 <= shape[1] <= 16, f"{name}.features: wanted 1 to 16 dimensions, received {shape[1]}")
            if term.lattice is not None or term.features.device.type != "cpu":  # else building the lattice tells
                check_finite(f"{name}.features", term.features)
            check(1 <= term.shifts <= 16, f"{name}.shifts: wanted 1 to 16, received {term.shifts}")
            check(term.fill_rows >= 0, f"{name}.fill_rows: wanted 0 or more, received {term.fill_rows}")
            wanted = shape[1]
        check(
            tuple(term.widths.shape) == (wanted,),
            f"{name}.widths: wanted shape ({wanted},), received {tuple(term.widths.shape)}",
        )
        good = bool((torch.isfinite(term.widths) & (term.widths > 0)).all())
        check(good, f"{name}.widths: wanted positive finite widths, received {term.widths.tolist()}")
