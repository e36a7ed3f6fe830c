"""The normalised kernel filters of a mean field, built from the differentiable ops of any device."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from densefield.ops.gaussian import gaussian_filter
from densefield.ops.mean_field.terms import GridTerm, LatticeTerm
from densefield.ops.permutohedral import Lattice, lattice_filter
from densefield.ops.permutohedral.lattice import joined
from densefield.ops.permutohedral.native import outgrows
from densefield.ops.permutohedral.shifted import shifted_items

Filter = Callable[[Tensor], Tensor]  # (B, C, N) -> (B, C, N)

# A filled lattice's kernel has the Gaussian's variance but is flatter. Of factors from 1 to 1.1 this one left the least
# errors of gradients by widths on crops of photographs, and of marginals within 8 % of the least.
FILLED_STRETCH = 1.08
# One that stays unfilled loses what blurring sends beside its points, most of it from far away, so it wants less.
# Of factors from 0.94 to 1.06 this one left the least errors of marginals on whole photographs.
UNFILLED_STRETCH = 1.03


def lattices_of(term: LatticeTerm, *, entries: bool = True) -> tuple[Lattice, ...]:
    """Give the term's lattices, built where they are not: for each item as if it were alone.

    Without `entries` (`build_item`) only for one item.
    """
    if isinstance(term.lattice, Lattice):
        return (term.lattice,)
    if term.lattice is not None:
        return tuple(term.lattice)
    widths = term.widths.detach()
    items = [_of_item(item, widths, term.shifts, term.fill_rows, entries) for item in term.features.detach().split(1)]
    return tuple(joined(each) for each in zip(*items, strict=True))


def _of_item(
    features: Tensor,  # (1, d, N)
    widths: Tensor,  # (d,)
    shifts: int,
    fill_rows: int,
    entries: bool,
) -> tuple[Lattice, ...]:
    if fill_rows and not outgrows(features, FILLED_STRETCH, fill_rows, widths):
        lattices, filled = shifted_items(
            features, shifts, fill_rows, widths=widths, stretch=FILLED_STRETCH, entries=entries
        )
        if filled:
            return lattices
    stretch = UNFILLED_STRETCH if fill_rows else 1.0
    return shifted_items(features, shifts, widths=widths, stretch=stretch, entries=entries)[0]


def raw_filter(term: GridTerm | LatticeTerm, size: Sequence[int]) -> Filter:
    """Give the kernel's filter without normalisation, differentiable by values, widths and features."""
    if isinstance(term, GridTerm):

        def on_grid(values: Tensor) -> Tensor:
            return gaussian_filter(values.reshape(*values.shape[:2], *size), term.widths).flatten(2)

        return on_grid
    lattices = lattices_of(term)
    features = term.features / term.widths.to(term.features.device)[:, None]

    def on_lattices(values: Tensor) -> Tensor:
        outputs = [lattice_filter(values, lattice, features=features) for lattice in lattices]
        return torch.stack(outputs).mean(0) if len(outputs) > 1 else outputs[0]

    return on_lattices


def normalized_filter(term: GridTerm | LatticeTerm, scores: Tensor, normalization: str) -> Filter:
    """Give the kernel's filter with its normalisation; `scores` (B, C, *size) give the shape and type."""
    size = scores.shape[2:]
    plain = raw_filter(term, size)
    mass = plain(scores.new_ones((scores.shape[0], 1, math.prod(size))))
    if normalization == "symmetric":
        root = (mass + 1e-20).rsqrt()
        return lambda values: root * plain(root * values)
    if normalization == "before":
        return lambda values: plain(values / (mass + 1e-20))
    if normalization == "after":
        return lambda values: plain(values) / (mass + 1e-20)
    if isinstance(term, GridTerm):
        return plain
    factor = true_mass_factor(term, mass).to(mass)[:, None, None]
    return lambda values: factor * plain(values)


def true_mass_factor(
    term: LatticeTerm,
    mass: Tensor,  # (B, 1, N), the lattice's sums of ones
) -> Tensor:  # (B,) float64
    """Give what each item's sums are multiplied by to be, on average, the sums of the exact kernel.

    A lattice leaves out points that no pixel touches, so its sums fall short, the more the sparser the features. The
    exact sums are taken over evenly spread samples, at most 512 pixels against 8192.
    """
    features = (term.features / term.widths[:, None]).detach().double()
    points = features.shape[2]
    some, others = (
        torch.linspace(0, points - 1, min(points, most), dtype=torch.float32, device=features.device).round().long()
        for most in (512, 8192)
    )
    factors = []
    for item, sums in zip(features, mass.detach()[:, 0], strict=True):
        distance = torch.cdist(item[:, some].T, item[:, others].T)
        kernel = torch.exp(-0.5 * distance.square())
        own = some[:, None] == others
        # The pixel itself is in its own sum once; the rest of the sum grows with the pixels left out.
        rest = kernel.masked_fill(own, 0).sum(1) * (points - 1) / (len(others) - own.sum(1)).clamp(min=1)
        factors.append((1 + rest).mean() / sums[some].double().mean())
    return torch.stack(factors)
