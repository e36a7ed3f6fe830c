from __future__ import annotations

import pytest
import torch

from densefield.ops.mean_field.terms import FILLED_STRETCH
from densefield.ops.permutohedral import build_lattice, lattice_filter, shifted_lattices
from densefield.ops.permutohedral.native import outgrows
from densefield.ops.permutohedral.plain import build_by_sorting
from drawing import seeded
from ops.permutohedral.dense import dense_filter

MANY = 1 << 30


def cloud(batch: int, d: int, points: int, size: float) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seeded(d))
    return size * torch.rand(batch, d, points, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize(
    ("batch", "d", "points", "size"),
    [(1, 5, 400, 4), (2, 3, 300, 5), (3, 1, 50, 9), (1, 5, 200, 400), (1, 2, 300, 1e4), (1, 16, 20, 5), (2, 9, 10, 30)],
)
def test_points_one_step_away_are_added(batch, d, points, size):
    features = cloud(batch, d, points, size)
    lattice, plain = build_lattice(features, MANY), build_lattice(features)
    wanted = build_by_sorting(features, MANY)
    assert lattice.rows == wanted.rows > plain.rows
    values = torch.rand(batch, 3, points, dtype=torch.float64)
    found = lattice_filter(values, lattice)
    torch.testing.assert_close(found, lattice_filter(values, wanted))
    # Rows that were there touch the pixels that they touched; each has all its neighbours now.
    touched = lattice.starts.diff() > 0
    assert int(touched.sum()) == int(lattice.touched.sum()) == plain.rows
    assert int((lattice.neighbours[:, touched] == lattice.rows).sum()) == 0
    for item in (lattice.item(i) for i in range(batch)):  # those that are added come last
        assert torch.equal(item.starts.diff() > 0, torch.arange(item.rows) < item.touched)
    items = [lattice_filter(values[i : i + 1], lattice.item(i)) for i in range(batch)]
    torch.testing.assert_close(torch.cat(items), found)


def test_only_where_few_enough():
    features = cloud(1, 5, 300, 4)
    rows, plain = build_lattice(features, MANY).rows, build_lattice(features).rows
    for limit, wanted in ((rows, rows), (rows - 1, plain), (plain, plain), (0, plain)):
        assert build_lattice(features, limit).rows == wanted
        assert build_by_sorting(features, limit).rows == wanted


def test_filled_and_stretched_it_is_nearer_to_the_dense_sum():
    features = cloud(1, 5, 1500, 3)
    values = torch.rand(1, 20, 1500, dtype=torch.float64, generator=torch.Generator().manual_seed(seeded(1)))
    ones = torch.ones_like(values)
    wanted = dense_filter(values, features) / dense_filter(ones, features)

    def error(lattices):
        out, mass = (sum(lattice_filter(x, lattice) for lattice in lattices) for x in (values, ones))
        return float((out / mass - wanted).abs().mean())

    plain = error(shifted_lattices(features, 1))
    stretched = features * FILLED_STRETCH
    assert error(shifted_lattices(stretched, 1, MANY)) < 0.75 * plain
    assert error(shifted_lattices(stretched, 3, MANY)) < 0.6 * plain


@pytest.mark.parametrize("size", [1.0, 3.0, 9.0])
def test_a_lattice_is_said_to_outgrow_its_bound_only_where_it_does(size):
    features = cloud(1, 3, 70_000, size).float()
    filled, plain = build_lattice(1.1 * features, MANY).rows, build_lattice(1.1 * features).rows
    assert not outgrows(features, 1.1, filled)
    said = [limit for limit in range(1, filled, filled // 7) if outgrows(features, 1.1, limit)]
    assert 1 in said  # fewer than the pixels alone touch
    assert all(build_lattice(1.1 * features, limit).rows == plain for limit in said)
    assert not outgrows(torch.full_like(features, torch.nan), 1.0, 1)
    assert not outgrows(features[..., :5], 1.0, 1)
