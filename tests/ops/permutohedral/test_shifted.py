from __future__ import annotations

import math

import pytest
import torch

from densefield.ops.permutohedral import lattice_filter, shifted_lattices
from densefield.ops.permutohedral.shifted import shift_offsets
from drawing import seeded
from ops.permutohedral.dense import dense_filter


def test_the_average_is_nearer_to_the_dense_sum():
    generator = torch.Generator().manual_seed(seeded())
    features = 4 * torch.rand(1, 3, 1500, dtype=torch.float64, generator=generator)
    values = torch.rand(1, 20, 1500, dtype=torch.float64, generator=generator)
    ones = torch.ones_like(values)
    wanted = dense_filter(values, features) / dense_filter(ones, features)
    errors = []
    for shifts in (1, 4):
        lattices = shifted_lattices(features, shifts)
        out, mass = (sum(lattice_filter(x, lattice) for lattice in lattices) for x in (values, ones))
        errors.append(float((out / mass - wanted).abs().mean()))
    assert errors[0] / errors[1] > 1.1  # what is promised: 1.23 over draws, with a deviation of 0.02


def spline(x: torch.Tensor) -> torch.Tensor:
    """The cubic B-spline: a hat convolved with a hat."""
    x = x.abs()
    return torch.where(x < 1, 2 / 3 - x.square() + x**3 / 2, (2 - x).clamp(min=0) ** 3 / 6)


@pytest.mark.parametrize("shifts", [1, 4, 13, 55])
def test_in_one_dimension_shifts_come_as_near_to_splines_as_they_lie_evenly(shifts):
    """Hats put on vertices, blurred by (1 2 1) twice and read by hats: over all shifts, a sum of splines.

    Between a mean of n values and the integral lie at most the function's variation times the star discrepancy of its
    arguments (Koksma). By a shift in units of vertices, the kernel changes at most by 2 max |b_(k + 1) - b_k|, b being
    what the blur gives: hats add up to 1, and their slopes, 1 and -1, take differences of it. One lattice alone is off
    by 0.11.
    """
    spacing = math.sqrt(3) / 2  # b has the variance 1, the two hats 1/6 each: 4/3 in all, for a Gaussian of width 1
    blur = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0], dtype=torch.float64) / 6  # 1 in the middle
    x = torch.linspace(-6, 6, 601, dtype=torch.float64)  # so many that no vertex is missing
    lattices = shifted_lattices(x[None, None], shifts)
    single = torch.zeros(1, 3, len(x), dtype=torch.float64)
    places = [300, 313, 334]
    for channel, place in enumerate(places):
        single[0, channel, place] = 1
    found = sum(lattice_filter(single, lattice) for lattice in lattices)[0] / shifts
    gaps = (x - x[places][:, None]) / spacing
    wanted = sum(weight * spline(gaps - k) for k, weight in enumerate(blur, start=-2))
    at = (shift_offsets(1, shifts).flatten() / spacing % 1).sort().values
    steps = torch.arange(shifts, dtype=torch.float64) / shifts
    uneven = float(torch.maximum(at - steps, steps + 1 / shifts - at).max())
    assert (found - wanted).abs().max() <= 2 * blur.diff().abs().max() * uneven  # 0.077 and 0.026 for 13 and 55


def test_the_first_is_not_shifted_and_none_repeats():
    offsets = shift_offsets(5, 8)
    assert (offsets[0] == 0).all()
    assert torch.cdist(offsets, offsets).fill_diagonal_(1).min() > 0.05
