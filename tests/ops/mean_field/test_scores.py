"""Scores in place of energies, and what the loop finds wrong with either while it reads them."""

from __future__ import annotations

import math

import pytest
import torch

from densefield.checks import InputError
from densefield.ops.mean_field import GridTerm, LatticeTerm, mean_field
from drawing import seeded

LABELS = (1, 2, 3, 5, 21, 24, 40)  # alone, in twos and fours, in a padded row, in a whole one, in two groups


def terms(points: int) -> list[GridTerm | LatticeTerm]:
    features = 5 * torch.rand(1, 3, points, generator=torch.Generator().manual_seed(seeded(1)))
    return [
        GridTerm(torch.tensor([1.5, 2.0]), torch.tensor(-1.0)),
        LatticeTerm(features, torch.tensor([1.0, 2.0, 3.0]), torch.tensor(-2.0)),
    ]


def scores_of(labels: int) -> torch.Tensor:
    return 3 * torch.randn(1, labels, 7, 11, generator=torch.Generator().manual_seed(seeded(labels)))


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("settings", [{}, {"prune": 1e-3}, {"iterations": 0}, {"half": False}])
def test_scores_are_negative_energies(labels, settings):
    given = scores_of(labels).requires_grad_()
    found = mean_field(given, terms(77), scores=True, **{"iterations": 3, **settings})
    wanted = mean_field(-given, terms(77), **{"iterations": 3, **settings})
    assert torch.equal(found, wanted)
    seed = torch.randn(found.shape, generator=torch.Generator().manual_seed(seeded(2)))
    by_scores, by_energies = (torch.autograd.grad((out * seed).sum(), given)[0] for out in (found, wanted))
    assert torch.equal(by_scores, by_energies)
    wide = given.detach().double()  # op by op
    by_ops = mean_field(wide, terms(77), scores=True, **{"iterations": 3, **settings})
    torch.testing.assert_close(found.double(), by_ops, rtol=0, atol=3e-2)


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("wrong", [math.nan, math.inf])
@pytest.mark.parametrize("place", [0, 40, 76])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])  # the loop, and op by op
def test_one_wrong_number_is_found_wherever_it_is(labels, wrong, place, dtype):
    given = scores_of(labels).to(dtype)
    given.flatten(2)[0, labels // 2, place] = wrong
    with pytest.raises(InputError, match="unary: holds NaN or Inf"):
        mean_field(-given, terms(77), iterations=2)
    for options in ({"iterations": 2}, {"iterations": 0}, {"iterations": 2, "prune": 0.01}):
        with pytest.raises(InputError, match="scores: hold NaN or Inf"):
            mean_field(given, terms(77), scores=True, **options)
    with pytest.raises(InputError, match="initial: holds NaN or Inf"):
        mean_field(scores_of(labels).to(dtype), terms(77), iterations=2, initial=given)


@pytest.mark.parametrize("labels", LABELS)
def test_a_pixel_without_any_label_is_named(labels):
    given = torch.cat([scores_of(labels)] * 2)
    given[1, :, 3, 4] = -math.inf
    with pytest.raises(InputError, match=r"scores: hold -Inf for all labels of 1 pixels, the first at \(3, 4\)"):
        mean_field(given, [], iterations=2, scores=True)
    with pytest.raises(InputError, match=r"unary: holds Inf for all labels of 1 pixels, the first at \(3, 4\)"):
        mean_field(-given, [], iterations=2)


@pytest.mark.parametrize("labels", LABELS[1:])
@pytest.mark.parametrize("settings", [{}, {"prune": 1e-3}, {"prune": 0.3}, {"iterations": 0}, {"half": False}])
def test_a_label_that_cannot_be_has_no_marginal(labels, settings):
    """Held against float64 with scores so low that no exponential is above 0."""
    given = scores_of(labels)
    never = torch.rand(given.shape, generator=torch.Generator().manual_seed(seeded(labels))) < 0.5
    never[:, 0] &= ~never[:, 1:].all(1)
    never[:, :, 2] = torch.arange(labels)[:, None] > 0  # a line where one label is left
    given.masked_fill_(never, -math.inf).requires_grad_()
    found = mean_field(given, terms(77), scores=True, **{"iterations": 3, **settings})
    assert torch.equal(found == -math.inf, never)
    low = given.detach().double().masked_fill(never, -1e6).requires_grad_()
    wanted = mean_field(low, terms(77), scores=True, **{"iterations": 3, **settings})
    torch.testing.assert_close(found.double().exp(), wanted.exp(), rtol=0, atol=3e-3)
    by_energies = mean_field(-given, terms(77), **{"iterations": 3, **settings})
    assert torch.equal(found, by_energies)
    seed = torch.randn(found.shape, generator=torch.Generator().manual_seed(seeded(2)))
    (gradient,) = torch.autograd.grad((found.exp() * seed).sum(), given)
    (exact,) = torch.autograd.grad((wanted.exp() * seed).sum(), low)
    assert not gradient[never].any()
    torch.testing.assert_close(gradient.double(), exact, rtol=0, atol=5e-3 * float(exact.abs().max()))


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("low", [1e4, 1e9, 1e30, 3.4028234663852886e38])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_number_that_all_labels_share_changes_nothing(labels, dtype, low, sign):
    given = scores_of(labels).to(dtype)
    given[..., 6:] = 0
    moved = given.clone()
    moved[..., 6:] = sign * low
    wanted = mean_field(given, terms(77), iterations=3, scores=True)
    found = mean_field(moved, terms(77), iterations=3, scores=True)
    assert torch.equal(found, wanted)
    assert torch.equal(mean_field(-moved, terms(77), iterations=3), found)


@pytest.mark.parametrize("labels", LABELS[1:])
@pytest.mark.parametrize("span", [1e3, 7e4, 1e32])
def test_finite_numbers_far_apart_are_no_error(labels, span):
    given = scores_of(labels)
    given.flatten(2)[0, 1, 5] = -span
    given.requires_grad_()
    found = mean_field(given, terms(77), iterations=2, scores=True)
    by_ops = mean_field(given.detach().double(), terms(77), iterations=2, scores=True)
    torch.testing.assert_close(found.detach().double().exp(), by_ops.exp(), rtol=0, atol=3e-3)
    torch.testing.assert_close(found.detach().double()[0, 1, 0, 5] / span, by_ops[0, 1, 0, 5] / span, rtol=1e-5, atol=0)
    (gradient,) = torch.autograd.grad(found.exp().square().sum(), given)
    assert torch.isfinite(gradient).all()
