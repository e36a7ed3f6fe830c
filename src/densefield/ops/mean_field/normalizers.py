"""What messages are multiplied by before and after a kernel's filter, and how that goes into gradients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from densefield.ops.gaussian import gaussian_filter
from densefield.ops.permutohedral import Lattice, lattice_filter


@dataclass(frozen=True)
class Normalizer:
    """message = factor · after · K (before · Q), `before` and `after` powers of K's sums of ones."""

    before: Tensor  # (N,)
    after: Tensor  # (N,)
    mass: Tensor  # (N,) K 1
    powers: tuple[float, float]  # those of `before` and `after`
    factor: float = 1.0


@dataclass(frozen=True)
class GridNormalizer:
    """The same of a grid, whose mass is the product of one factor an axis."""

    axes: tuple[Tensor, ...]  # before and after along y, then along x
    powers: tuple[float, float]


def powers_of(normalization: str) -> tuple[float, float]:
    """Give the powers of the mass before and after the filter."""
    return {"symmetric": (-0.5, -0.5), "before": (-1.0, 0.0), "after": (0.0, -1.0), "none": (0.0, 0.0)}[normalization]


def grid_normalizer(widths: Tensor, size: Sequence[int], normalization: str) -> GridNormalizer:
    """Normalise a grid kernel."""
    sizes = list(size) if len(size) == 2 else [1, *size]
    thetas = widths.detach().tolist() if len(size) == 2 else [1.0, *widths.detach().tolist()]
    powers = powers_of(normalization)
    sums = [
        gaussian_filter(widths.new_ones((1, 1, length), dtype=torch.float32), theta).reshape(-1)
        for length, theta in zip(sizes, thetas, strict=True)
    ]
    return GridNormalizer(tuple(total**power for total in sums for power in powers), powers)


def lattice_normalizer(lattices: Sequence[Lattice], normalization: str, factor: float) -> Normalizer:
    """Normalise the average of some lattices of one image."""
    ones = lattices[0].weights.new_ones((1, 1, lattices[0].vertices.shape[1]))
    masses = [lattice_filter(ones, lattice).reshape(-1) for lattice in lattices]
    mass = (masses[0] if len(masses) == 1 else torch.stack(masses).mean(0)) + 1e-20
    powers = powers_of(normalization)
    before = mass ** powers[0]
    after = before if powers[0] == powers[1] else mass ** powers[1]
    return Normalizer(before, after, mass, powers, factor)
