"""A term's kernel with its normalisation: as a filter of any device, and as the fused loop takes it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from densefield.ops.gaussian import gaussian_filter
from densefield.ops.mean_field.terms import GridTerm, Term, lattices_of
from densefield.ops.permutohedral import Lattice, lattice_filter

Filter: TypeAlias = Callable[[Tensor], Tensor]  # (B, C, N) -> (B, C, N)


def raw_filter(term: Term, size: Sequence[int]) -> Filter:
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


def normalized_filter(term: Term, scores: Tensor, normalization: str) -> Filter:
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
    factor = _true_mass_factor(term.features / term.widths[:, None], mass).to(mass)[:, None, None]
    return lambda values: factor * plain(values)


def _true_mass_factor(
    features: Tensor,  # (B, d, N), in kernel widths
    mass: Tensor,  # (B, 1, N), the lattice's sums of ones
) -> Tensor:  # (B,) float64
    """Give what each item's sums are multiplied by to be, on average, the sums of the exact kernel.

    A lattice leaves out points that no pixel touches, so its sums fall short, the more the sparser the features. The
    exact sums are taken over evenly spread samples, at most 512 pixels against 8192.
    """
    features = features.detach().double()
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


class GridKernel(NamedTuple):
    """A grid kernel's normalisation: its mass is the product of one factor an axis."""

    axes: tuple[Tensor, ...]  # before and after along y, then along x
    powers: tuple[float, float]  # of the mass, before and after


class LatticeKernel(NamedTuple):
    """message = factor · after · K (before · Q), `before` and `after` powers of K's sums of ones."""

    lattices: Sequence[Lattice]  # of one image, K their average
    before: Tensor  # (N,)
    after: Tensor  # (N,)
    mass: Tensor  # (N,) K 1
    powers: tuple[float, float]  # those of `before` and `after`
    factor: float


def grid_kernel(widths: Tensor, size: Sequence[int], normalization: str) -> GridKernel:
    """Normalise a grid kernel of one or two axes."""
    sizes = list(size) if len(size) == 2 else [1, *size]
    thetas = widths.detach().tolist() if len(size) == 2 else [1.0, *widths.detach().tolist()]
    powers = _powers_of(normalization)
    sums = [
        gaussian_filter(widths.new_ones((1, 1, length), dtype=torch.float32), theta).reshape(-1)
        for length, theta in zip(sizes, thetas, strict=True)
    ]
    return GridKernel(tuple(total**power for total in sums for power in powers), powers)


def lattice_kernel(
    lattices: Sequence[Lattice],
    features: Tensor,  # (1, d, N)
    widths: Tensor,  # (d,)
    normalization: str,
) -> LatticeKernel:
    """Normalise the average of some lattices of one image."""
    ones = lattices[0].weights.new_ones((1, 1, lattices[0].vertices.shape[1]))
    masses = [lattice_filter(ones, lattice) for lattice in lattices]
    mass = masses[0] if len(masses) == 1 else torch.stack(masses).mean(0)
    exact = normalization == "none"
    factor = float(_true_mass_factor(features / widths[:, None], mass)) if exact else 1.0
    mass = mass.reshape(-1) + 1e-20
    powers = _powers_of(normalization)
    before = mass ** powers[0]
    after = before if powers[0] == powers[1] else mass ** powers[1]
    return LatticeKernel(lattices, before, after, mass, powers, factor)


def _powers_of(normalization: str) -> tuple[float, float]:
    return {"symmetric": (-0.5, -0.5), "before": (-1.0, 0.0), "after": (0.0, -1.0), "none": (0.0, 0.0)}[normalization]
