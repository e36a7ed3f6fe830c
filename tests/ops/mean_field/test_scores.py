"""What the loop finds wrong with scores while it reads them, and what it makes of infinite and of huge ones."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from densefield.checks import InputError
from densefield.ops.mean_field import GridTerm, LatticeTerm, mean_field
from densefield.ops.permutohedral import build_lattice
from drawing import seeded
from rounding import Rounding

LABELS = (1, 2, 3, 5, 21, 24, 40)  # alone, in twos and fours, in a padded row, in a whole one, in two groups


def terms(points: int) -> list[GridTerm | LatticeTerm]:
    features = 5 * torch.rand(1, 3, points, generator=torch.Generator().manual_seed(seeded(1)))
    widths = torch.tensor([1.0, 2.0, 3.0])
    lattice = build_lattice(features / widths[:, None])  # built once, so that float64 has the same weights
    return [
        GridTerm(torch.tensor([1.5, 2.0]), torch.tensor(-1.0)),
        LatticeTerm(features, widths, torch.tensor(-2.0), lattice),
    ]


def rounding_of(settings: dict[str, Any]) -> Rounding:
    """What the loop rounds: marginals are stored in half precision unless told otherwise."""
    return Rounding(torch.float32, torch.float16 if settings.get("half", True) else None)


def scores_of(labels: int) -> torch.Tensor:
    return 3 * torch.randn(1, labels, 7, 11, generator=torch.Generator().manual_seed(seeded(labels)))


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("settings", [{}, {"prune": 1e-3}, {"iterations": 0}, {"half": False}])
def test_every_way_of_running_gives_what_float64_does(labels, settings):
    given = scores_of(labels)
    found = mean_field(given, terms(77), **{"iterations": 3, **settings})
    with rounding_of(settings) as rounding:  # float64 goes op by op
        by_ops = mean_field(given.double(), terms(77), **{"iterations": 3, **settings})
    rounding.within([found], [by_ops])


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("wrong", [math.nan, math.inf])
@pytest.mark.parametrize("place", [0, 40, 76])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])  # the loop, and op by op
def test_one_wrong_number_is_found_wherever_it_is(labels, wrong, place, dtype):
    given = scores_of(labels).to(dtype)
    given.flatten(2)[0, labels // 2, place] = wrong
    for options in ({"iterations": 2}, {"iterations": 0}, {"iterations": 2, "prune": 0.01}):
        with pytest.raises(InputError, match="scores: hold NaN or Inf"):
            mean_field(given, terms(77), **options)
    with pytest.raises(InputError, match="initial: holds NaN or Inf"):
        mean_field(scores_of(labels).to(dtype), terms(77), iterations=2, initial=given)


@pytest.mark.parametrize("labels", LABELS)
def test_a_pixel_without_any_label_is_named(labels):
    given = torch.cat([scores_of(labels)] * 2)
    given[1, :, 3, 4] = -math.inf
    with pytest.raises(InputError, match=r"scores: hold -Inf for all labels of 1 pixels, the first at \(3, 4\)"):
        mean_field(given, [], iterations=2)


@pytest.mark.parametrize("labels", LABELS[1:])
@pytest.mark.parametrize("settings", [{}, {"prune": 1e-3}, {"prune": 0.3}, {"iterations": 0}, {"half": False}])
def test_a_label_that_cannot_be_has_no_marginal(labels, settings):
    """Held against float64 with scores so low that no exponential is above 0."""
    given = scores_of(labels)
    never = torch.rand(given.shape, generator=torch.Generator().manual_seed(seeded(labels))) < 0.5
    never[:, 0] &= ~never[:, 1:].all(1)
    never[:, :, 2] = torch.arange(labels)[:, None] > 0  # a line where one label is left
    given.masked_fill_(never, -math.inf).requires_grad_()
    found = mean_field(given, terms(77), **{"iterations": 3, **settings})
    assert torch.equal(found == -math.inf, never)
    low = given.detach().double().masked_fill(never, -1e6).requires_grad_()
    seed = torch.randn(found.shape, generator=torch.Generator().manual_seed(seeded(2)))
    with rounding_of(settings) as rounding:
        wanted = mean_field(low, terms(77), **{"iterations": 3, **settings}).exp()
        (exact,) = torch.autograd.grad((wanted * seed.double()).sum(), low)
    (gradient,) = torch.autograd.grad((found.exp() * seed).sum(), given)
    assert not gradient[never].any()
    rounding.within([found.exp(), gradient], [wanted, exact])


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("low", [1e4, 1e9, 1e30, 3.4028234663852886e38])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_number_that_all_labels_share_changes_nothing(labels, dtype, low, sign):
    given = scores_of(labels).to(dtype)
    given[..., 6:] = 0
    moved = given.clone()
    moved[..., 6:] = sign * low
    wanted = mean_field(given, terms(77), iterations=3)
    found = mean_field(moved, terms(77), iterations=3)
    assert torch.equal(found, wanted)


@pytest.mark.parametrize("labels", LABELS[1:])
@pytest.mark.parametrize("span", [1e3, 7e4, 1e32])
def test_finite_numbers_far_apart_are_no_error(labels, span):
    given = scores_of(labels)
    given.flatten(2)[0, 1, 5] = -span
    given.requires_grad_()
    found = mean_field(given, terms(77), iterations=2)
    with rounding_of({}) as rounding:
        wanted = mean_field(given.detach().double(), terms(77), iterations=2)
    rounding.within([found], [wanted])
    (gradient,) = torch.autograd.grad(found.exp().square().sum(), given)
    assert torch.isfinite(gradient).all()


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # torch looks at it while it compiles
def test_compiled_functions_take_numbers_far_apart_and_refuse_as_uncompiled_ones():
    def infer(given: torch.Tensor) -> torch.Tensor:
        return 2 * mean_field(2 * given, terms(77)[:1], iterations=2)

    compiled, given = torch.compile(infer, backend="aot_eager"), scores_of(5)
    for wide in (3.0, 1e5):  # the second is more than half precision holds: the loop begins again without
        given[0, 0, 0, 0] = wide
        assert torch.equal(compiled(given), infer(given))
    given[0, 0, 0, 0] = math.nan
    with pytest.raises(InputError, match="scores: hold NaN or Inf"):
        compiled(given)
