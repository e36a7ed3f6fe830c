from __future__ import annotations

import pytest
import torch

from densefield.checks import InputError
from densefield.ops.permutohedral import build_lattice, lattice_filter
from drawing import seeded
from ops.permutohedral.dense import dense_filter
from rounding import Rounding


def smooth_features(d: int, points: int, spread: float = 3.0) -> torch.Tensor:
    return spread * torch.rand(1, d, points, dtype=torch.float64, generator=torch.Generator().manual_seed(seeded(1)))


@pytest.mark.parametrize(("d", "points", "tolerance"), [(1, 300, 0.12), (2, 2000, 0.12), (3, 3000, 0.15)])
def test_is_near_the_dense_sum_in_shape(d, points, tolerance):
    features, values = smooth_features(d, points), torch.rand(1, 2, points, dtype=torch.float64)
    out, wanted = lattice_filter(values, build_lattice(features)), dense_filter(values, features)
    out = out * (wanted.sum() / out.sum())  # a lattice's mass falls short by a factor
    assert ((out - wanted).abs().mean() / wanted.mean()) < tolerance


@pytest.mark.parametrize("channels", [1, 3, 5, 8, 9, 16, 17, 21, 24, 25, 40])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_channels_do_not_meet(channels, dtype):
    lattice = build_lattice(smooth_features(5, 77).to(dtype))
    values = torch.randn(1, channels, 77, dtype=dtype)
    with Rounding(dtype) as rounding:
        together = lattice_filter(values, lattice)
    rounding.within([torch.cat([lattice_filter(channel, lattice) for channel in values.split(1, 1)], 1)], [together])


@pytest.mark.parametrize("d", [1, 2, 3, 5, 6, 9])
def test_reverse_is_the_transpose(d):
    lattice = build_lattice(smooth_features(d, 60))
    a, b = torch.randn(2, 1, 4, 60, dtype=torch.float64).unbind(0)
    with Rounding(torch.float64) as rounding:
        forth = (a * lattice_filter(b, lattice)).sum()
    rounding.within([(b * lattice_filter(a, lattice, reverse=True)).sum()], [forth])


def test_gradcheck_by_values():
    lattice = build_lattice(smooth_features(3, 12))
    values = torch.randn(1, 2, 12, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: lattice_filter(v, lattice), values)
    assert torch.autograd.gradgradcheck(lambda v: lattice_filter(v, lattice), values)


@pytest.mark.parametrize("d", [1, 2, 3])
def test_gradient_by_features_is_near_the_exact_one(d):
    features = smooth_features(d, 1500, 2.0).requires_grad_()
    values = torch.rand(1, 2, 1500, dtype=torch.float64) + features.detach().mean(1, keepdim=True)
    weights = features.detach().sin().mean(1, keepdim=True)
    lattice = build_lattice(features)
    (mine,) = torch.autograd.grad((weights * lattice_filter(values, lattice, features=features)).sum(), features)
    (exact,) = torch.autograd.grad((weights * dense_filter(values, features)).sum(), features)
    assert torch.cosine_similarity(mine.flatten(), exact.flatten(), 0) > 0.99


def test_gradient_by_features_is_exact_where_points_coincide():
    # Two clouds at one place each, far from each other: moving a cloud by a little changes nothing.
    features = torch.tensor([[[0.0, 0.0, 50.0, 50.0]]], dtype=torch.float64, requires_grad=True)
    lattice, values = build_lattice(features), torch.rand(1, 1, 4, dtype=torch.float64)
    with Rounding(torch.float64) as rounding:
        (gradient,) = torch.autograd.grad(lattice_filter(values, lattice, features=features).sum(), features)
    rounding.within([torch.zeros_like(gradient)], [gradient])
    assert rounding.bounds(gradient).of(0).max() < 1e-10


def test_opcheck():
    features = smooth_features(2, 9)
    lattice = build_lattice(features)
    values = torch.randn(1, 2, 9, dtype=torch.float64, requires_grad=True)
    torch.library.opcheck(torch.ops.densefield.lattice_filter.default, (values, None, list(lattice.parts), False))
    torch.library.opcheck(torch.ops.densefield.lattice_filter.default, (values, features, list(lattice.parts), True))
    widths = torch.tensor([0.5, 2.0], dtype=torch.float64)
    for arguments in ((None, 1.0, 100, True), (widths, 1.25, 0, False)):
        torch.library.opcheck(
            torch.ops.densefield.lattice_build.default,
            (features, *arguments),
            test_utils=("test_schema", "test_autograd_registration", "test_faketensor"),
        )


def test_not_contiguous_and_half_values():
    lattice, values = build_lattice(smooth_features(3, 20).float()), torch.randn(20, 4).T[None]
    assert torch.equal(lattice_filter(values, lattice), lattice_filter(values.contiguous(), lattice))
    assert lattice_filter(values.bfloat16(), lattice).dtype == torch.bfloat16


@pytest.mark.parametrize(
    "values",
    [torch.zeros(1, 2, 5), torch.zeros(2, 2, 6), torch.zeros(2, 6), torch.zeros(1, 0, 6)],
)
def test_bad_values(values):
    with pytest.raises(InputError, match="values"):
        lattice_filter(values, build_lattice(torch.rand(1, 2, 6)))


def test_bad_features():
    with pytest.raises(InputError, match="features"):
        lattice_filter(torch.rand(1, 2, 6), build_lattice(torch.rand(1, 2, 6)), features=torch.rand(1, 3, 6))
