"""The bounds hold for what is computed in the narrow type, follow cancellation, and are near enough to find a fault."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from rounding import Rounding, sums_to_one

CASES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "product": lambda a, b: a @ b.T,
    "sum": lambda a, b: (a * b).sum(0),
    "power": lambda a, b: (a.square() + b.exp()).sqrt(),
    "softmax": lambda a, b: (a @ b.T).log_softmax(0),
    "far apart": lambda a, b: (1e4 * a).log_softmax(1).exp() + (1e4 * b).logsumexp(1, True),
    "difference": lambda a, b: (a.exp() + 1000) - 1000 - b,
    "division": lambda a, b: a / (b.abs().sum(1, keepdim=True) + 0.5),
    "in place": lambda a, b: a.clone().mul_(b).addcmul_(a, b).sub_(b).exp_(),
    "moved": lambda a, b: torch.cat([torch.where(a > b, a * 3, b / 3).flip(0)[1:], a[:, [2, 0]].repeat(1, 4)[:, :7]]),
}


@pytest.mark.parametrize("name", CASES)
def test_what_float32_computes_lies_within_and_a_small_fault_without(name: str) -> None:
    function = CASES[name]
    given = [torch.randn(5, 7).requires_grad_() for _ in range(2)]
    wide = [x.detach().double().requires_grad_() for x in given]
    with Rounding(torch.float32) as rounding:
        wanted = function(*wide)
        weight = torch.randn(wanted.shape)
        gradients = torch.autograd.grad((wanted * weight.double()).sum(), wide)
    found = function(*given)
    narrow = torch.autograd.grad((found * weight).sum(), given)
    rounding.within((found, *narrow), (wanted, *gradients))
    with pytest.raises(AssertionError, match="rounding explains"):
        rounding.within([found * (1 + 1e-3)], [wanted])


def test_a_sum_that_cancels_has_the_bound_of_its_parts() -> None:
    values = torch.randn(1000, dtype=torch.float64)
    with Rounding(torch.float32) as rounding:
        total = (values - values.mean()).sum()
    bound = float(rounding.bounds(total).of(0))
    assert 0 < abs(float(total)) < 1e-10
    assert 1e-5 < bound < 0.1


def test_marginals_add_up_to_one_but_for_rounding() -> None:
    log_q = (4 * torch.randn(2, 70, 50)).log_softmax(1)
    for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
        sums_to_one((log_q.double() if dtype == torch.float64 else log_q).to(dtype).log_softmax(1))
    sums_to_one(torch.tensor([[0.0, -math.inf]]))
    with pytest.raises(AssertionError, match="rounding explains"):
        sums_to_one(log_q + 1e-4)


def test_bounds_serve_another_type_and_unknown_operations_are_refused() -> None:
    values = torch.rand(9, dtype=torch.float64)
    with Rounding(torch.float32) as rounding:
        total = values.sum()
        with pytest.raises(AssertionError, match=r"no rule for aten\.erf"):
            values.erf()
    rounding.bounds(total).hold([values.flip(0).sum()], torch.float64)
    with pytest.raises(AssertionError, match="rounding explains"):
        rounding.bounds(total).hold([values.float().sum() * (1 + 1e-6)], torch.float64)
