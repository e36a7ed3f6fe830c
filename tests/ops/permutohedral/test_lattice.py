from __future__ import annotations

import itertools

import pytest
import torch

from densefield.checks import InputError
from densefield.ops import native
from densefield.ops.permutohedral import build_lattice, lattice_filter, plain
from densefield.ops.permutohedral.op import build_item
from densefield.ops.permutohedral.plain import build_by_sorting, rescue_precision
from drawing import seeded
from rounding import STEPS, Rounding, barycentric_rounding, unit_roundoff

# Narrow features take the bitmap, wide ones sorted 64-bit codes, wide ones in many dimensions 128-bit codes.
CASES = [(1, 3.0), (2, 3.0), (3, 1e5), (4, 300.0), (5, 2.0), (5, 60.0), (6, 4.0), (7, 1.0), (16, 5.0), (16, 60.0)]


def random_features(batch: int, d: int, points: int, spread: float, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return spread * torch.rand(batch, d, points, dtype=dtype, generator=torch.Generator().manual_seed(seeded(d)))


@pytest.mark.parametrize(("d", "spread"), CASES)
@pytest.mark.parametrize("reverse", [False, True])
def test_equals_the_torch_path(d, spread, reverse):
    features, values = random_features(2, d, 67, spread), torch.randn(2, 3, 67, dtype=torch.float64)
    lattice, other = build_lattice(features), build_by_sorting(features)
    assert lattice.rows == other.rows
    assert ((lattice.neighbours < lattice.rows).sum((1, 2)) == (other.neighbours < other.rows).sum((1, 2))).all()
    with Rounding(torch.float64) as rounding:
        wanted = plain.filtered(values, other.parts, reverse)
    # Far from 0, weights lose digits, on either path: what that moves is what greater ones would.
    moved = 2 * barycentric_rounding(features, torch.float64)
    positive = other._replace(weights=other.weights.abs())
    greater = other._replace(weights=positive.weights + moved)
    beside = plain.filtered(values.abs(), greater.parts, reverse) - plain.filtered(
        values.abs(), positive.parts, reverse
    )
    rounding.within([lattice_filter(values, lattice, reverse=reverse)], [wanted], beside)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("fill_rows", [0, 100_000])
@pytest.mark.parametrize("spread", [3.0, 1e5])  # float32 takes the second to float64
def test_widths_and_stretch_are_applied_while_building(dtype, fill_rows, spread):
    features, widths = random_features(1, 3, 90, spread, dtype), torch.tensor([0.5, 1.0, 3.0], dtype=dtype)
    lattice = build_item(features, fill_rows, widths=widths, stretch=1.08)
    scaled = features.double() / widths[:, None].double() * 1.08 if spread > 3 else features / widths[:, None] * 1.08
    wanted = build_lattice(scaled, fill_rows)
    assert torch.equal(lattice.weights, wanted.weights.to(dtype))
    assert lattice.rows == wanted.rows
    assert int(lattice.touched) == build_lattice(scaled).rows == int((lattice.starts.diff() > 0).sum())
    ones = torch.ones(1, 1, 90, dtype=dtype)
    assert torch.equal(lattice_filter(ones, lattice), lattice_filter(ones, wanted))


def test_without_entries_few_channels_are_filtered_alike():
    features, values = random_features(1, 5, 200, 4.0, torch.float32), torch.randn(1, 4, 200)
    whole = build_item(features, 5000)
    bare = build_item(features, 5000, entries=False)
    assert torch.equal(lattice_filter(values, bare), lattice_filter(values, whole))
    assert bare.starts.numel() == bare.entries.numel() == 0
    if native.available():
        with pytest.raises(ValueError, match="bad argument"):
            lattice_filter(torch.randn(1, 5, 200), bare)


@pytest.mark.parametrize("wrong", [torch.nan, torch.inf, -torch.inf])
def test_what_is_not_finite_is_told_from_what_is_too_wide(wrong):
    features, widths = random_features(1, 3, 90, 3.0, torch.float32), torch.tensor([1e-30, 1.0, 1.0])
    with pytest.raises(InputError, match=r"features: span up to .* kernel widths in 3 dimensions"):
        build_item(features, widths=widths)
    features[0, 1, 50] = wrong
    with pytest.raises(InputError, match="features: holds NaN or Inf"):
        build_item(features, widths=widths)


@pytest.mark.parametrize(("d", "spread"), CASES)
def test_hangs_together(d, spread):
    features = random_features(2, d, 50, spread, torch.float32)
    lattice = build_lattice(features)
    vertices, weights = lattice.vertices.long(), lattice.weights
    # What is added in one weight is subtracted in the next: each is rounded when subtracted and when stored.
    close = (d + 1) * (STEPS + 1) * unit_roundoff(torch.float32)
    torch.testing.assert_close(weights.double().sum(-1), torch.ones(2, 50, dtype=torch.float64), rtol=0, atol=close)
    assert weights.min() >= -barycentric_rounding(features, rescue_precision(features).dtype)
    assert set(vertices.flatten().tolist()) == set(range(lattice.rows))
    assert not set(vertices[0].flatten().tolist()) & set(vertices[1].flatten().tolist())  # images do not meet
    for axis, row in itertools.product(range(d + 1), range(lattice.rows)):
        back, on = lattice.neighbours[axis, row].tolist()
        assert on == lattice.rows or lattice.neighbours[axis, on, 0] == row
        assert back == lattice.rows or lattice.neighbours[axis, back, 1] == row
    flat = vertices.flatten()
    for row in range(lattice.rows):
        mine = lattice.entries[lattice.starts[row] : lattice.starts[row + 1]].long()
        assert (flat[mine] == row).all()
        assert (mine.diff() > 0).all()


@pytest.mark.parametrize(("d", "spread"), CASES)
def test_threads_do_not_matter(d, spread):
    features = random_features(1, d, 9001, spread, torch.float32)
    before = torch.get_num_threads()
    try:
        built = []
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            built.append(build_lattice(features))
    finally:
        torch.set_num_threads(before)
    for other in built[1:]:
        assert all(torch.equal(a, b) for a, b in zip(built[0], other, strict=True))


def test_item_is_a_lattice_of_its_own():
    features, values = random_features(3, 5, 40, 4.0), torch.randn(3, 2, 40, dtype=torch.float64)
    lattice = build_lattice(features)
    with Rounding(torch.float64) as rounding:
        whole = lattice_filter(values, lattice).split(1)
    rounding.within([lattice_filter(values[b : b + 1], lattice.item(b)) for b in range(3)], whole)


def test_single_point_and_equal_points():
    assert build_lattice(torch.zeros(1, 5, 1)).rows == 6
    assert build_lattice(torch.full((1, 5, 30), 2.5)).rows == 6


def test_tiny_widths_give_the_right_answer(path):
    # Far apart, points meet nobody, whatever the distance: each answers as a point alone does at its place in a cell.
    for scale in (1e3, 1e6, 1e9):
        features = scale * torch.tensor([[0.0, 1.0, 2.0, 3.0]])[None]
        out = lattice_filter(torch.ones(1, 1, 4), build_lattice(features))
        assert ((out > 0.3) & (out < 1.0)).all()


def test_not_contiguous_and_half():
    features = torch.rand(1, 40, 5).transpose(1, 2)
    assert torch.equal(build_lattice(features).vertices, build_lattice(features.contiguous()).vertices)
    assert build_lattice(features.half()).weights.dtype == torch.float32


@pytest.mark.parametrize(
    ("features", "message"),
    [
        (torch.zeros(1, 17, 4), "16 dimensions, received 17"),
        (torch.zeros(1, 0, 4), "16 dimensions, received 0"),
        (torch.zeros(1, 2, 0), "at least one pixel"),
        (torch.zeros(2, 4), "shape"),
        (torch.zeros(1, 2, 4, dtype=torch.int64), "floating-point"),
        (torch.tensor([[[0.0, float("nan")]]]), "NaN"),
        (torch.tensor([[[0.0, float("inf")]]]), "Inf"),
        (torch.tensor([[[0.0, 1e30]]]), "larger kernel widths"),
        (torch.tensor([[[0.0, 1e30]]], dtype=torch.float64), "larger kernel widths"),
        (torch.zeros(1, 1, 1).expand(2, 16, 2**26), r"need 2281701376 lattice corners, wanted fewer than 2\^31"),
        (1e13 * torch.linspace(0, 1, 144, dtype=torch.float64).sin().view(1, 16, 9), "larger kernel widths"),
    ],
)
def test_bad_features(features, message, path):
    with pytest.raises(InputError, match=message):
        build_lattice(features)


def test_does_not_fit_in_memory(monkeypatch, path):
    monkeypatch.setattr("densefield.ops.memory._available", lambda: 1 << 20)
    with pytest.raises(InputError, match="GiB"):
        build_lattice(torch.rand(1, 5, 700_000))
