"""Which lattices a term is filtered with: how far they are stretched when filled, when not, and unasked."""

from __future__ import annotations

import torch

from densefield.ops.mean_field import LatticeTerm
from densefield.ops.mean_field.terms import FILLED_STRETCH, UNFILLED_STRETCH, lattices_of
from densefield.ops.permutohedral import Lattice, build_lattice
from drawing import seeded


def is_filled(lattice: Lattice) -> bool:
    return bool((lattice.starts.diff() == 0).any())


def test_a_lattice_too_large_to_fill_is_stretched_less() -> None:
    features = 3 * torch.rand(1, 3, 60, generator=torch.Generator().manual_seed(seeded()))
    widths = torch.tensor([0.5, 1.0, 2.0])
    scaled = features / widths[:, None]
    term = LatticeTerm(features, widths, torch.tensor(-1.0), fill_rows=100_000)
    (filled,) = lattices_of(term)
    assert is_filled(filled)
    assert torch.equal(filled.weights, build_lattice(scaled * FILLED_STRETCH).weights)
    less = build_lattice(scaled * UNFILLED_STRETCH)
    (unfilled,) = lattices_of(LatticeTerm(features, widths, torch.tensor(-1.0), fill_rows=less.rows + 3))
    assert not is_filled(unfilled)
    assert torch.equal(unfilled.weights, less.weights)
    (plain,) = lattices_of(LatticeTerm(features, widths, torch.tensor(-1.0)))
    assert torch.equal(plain.weights, build_lattice(scaled).weights)


def test_one_that_outgrows_its_bound_by_far_is_stretched_less_too() -> None:
    features = 9 * torch.rand(1, 3, 70_000, generator=torch.Generator().manual_seed(seeded()))
    (unfilled,) = lattices_of(LatticeTerm(features, torch.ones(3), torch.tensor(-1.0), fill_rows=500))
    assert not is_filled(unfilled)
    wanted = build_lattice(features * UNFILLED_STRETCH).weights
    assert torch.equal(unfilled.weights, wanted)
