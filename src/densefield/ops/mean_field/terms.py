"""The pairwise terms of a dense CRF: a kernel with its widths, and the compatibility of labels under it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch
from torch import Tensor

from densefield.checks import check, check_finite
from densefield.ops.permutohedral.lattice import Lattice, joined
from densefield.ops.permutohedral.native import outgrows
from densefield.ops.permutohedral.shifted import shifted_items
from densefield.ops.precision import matmul

NORMALIZATIONS = ("symmetric", "before", "after", "none")

# A filled lattice's kernel has the Gaussian's variance but is flatter. Of factors from 1 to 1.1 this one left the least
# errors of gradients by widths on crops of photographs, and of marginals within 8 % of the least.
FILLED_STRETCH = 1.08
# One that stays unfilled loses what blurring sends beside its points, most of it from far away, so it wants less.
# Of factors from 0.94 to 1.06 this one left the least errors of marginals on whole photographs.
UNFILLED_STRETCH = 1.03


@dataclass(frozen=True)
class GridTerm:
    """An exact Gaussian of grid positions, exp(-sum_a (p_a - q_a)² / (2 widths_a²))."""

    widths: Tensor  # (number of spatial axes,) in pixels
    compatibility: Tensor  # an energy: () for c·I, (C,) a diagonal, (C, C) a symmetric matrix

    def item(self, index: int) -> GridTerm:
        """Give the term of one item of the batch alone."""
        return self

    def to(self, like: Tensor) -> GridTerm:
        """Give the term in the type of `like`; widths stay where they are, as they are looked at."""
        return GridTerm(self.widths.to(like.dtype), self.compatibility.to(like))


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

    @property
    def built(self) -> tuple[Lattice, ...] | None:
        """The lattices that are built already."""
        if isinstance(self.lattice, Lattice):
            return (self.lattice,)
        return None if self.lattice is None else tuple(self.lattice)

    def item(self, index: int) -> LatticeTerm:
        """Give the term of one item of the batch alone."""
        lattices = None if self.built is None else tuple(lattice.item(index) for lattice in self.built)
        return replace(self, features=self.features[index : index + 1], lattice=lattices)

    def to(self, like: Tensor) -> LatticeTerm:
        """Give the term in the type of `like`, beside it."""
        features, widths, compatibility = (x.to(like) for x in (self.features, self.widths, self.compatibility))
        return replace(self, features=features, widths=widths, compatibility=compatibility)


Term: TypeAlias = GridTerm | LatticeTerm
Infer: TypeAlias = Callable[[Tensor, Sequence[Term], Tensor | None], Tensor]  # of scores, terms and a start


def each_item(
    infer: Infer,
    scores: Tensor,  # (B, C, *size)
    terms: Sequence[Term],
    initial: Tensor | None,
) -> Tensor:  # (B, C, *size)
    """Infer image by image, so that none depends on the others of its batch."""
    items = [
        infer(
            scores[b : b + 1],
            [term.item(b) for term in terms],
            None if initial is None else initial[b : b + 1],
        )
        for b in range(scores.shape[0])
    ]
    return items[0] if len(items) == 1 else torch.cat(items)


def lattices_of(term: LatticeTerm, *, entries: bool = True) -> tuple[Lattice, ...]:
    """Give the term's lattices, built where they are not: for each item as if it were alone.

    Without `entries` (`build_item`) only for one item.
    """
    if term.built is not None:
        return term.built
    widths = term.widths.detach()
    items = [_of_item(item, widths, term, entries) for item in term.features.detach().split(1)]
    return tuple(joined(each) for each in zip(*items, strict=True))


def _of_item(
    features: Tensor,  # (1, d, N)
    widths: Tensor,  # (d,)
    term: LatticeTerm,
    entries: bool,
) -> tuple[Lattice, ...]:
    if term.fill_rows and not outgrows(features, FILLED_STRETCH, term.fill_rows, widths):
        lattices, filled = shifted_items(
            features, term.shifts, term.fill_rows, widths=widths, stretch=FILLED_STRETCH, entries=entries
        )
        if filled:
            return lattices
    stretch = UNFILLED_STRETCH if term.fill_rows else 1.0
    return shifted_items(features, term.shifts, widths=widths, stretch=stretch, entries=entries)[0]


def compatible(
    energies: Tensor,  # (), (C,) or (C, C)
    message: Tensor,  # (B, C, N)
) -> Tensor:  # (B, C, N)
    """Multiply a message by the compatibility."""
    if energies.dim() == 2:
        return matmul(energies, message)
    return energies.reshape(-1, 1) * message


def check_terms(terms: Sequence[Term], scores: Tensor) -> None:
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
