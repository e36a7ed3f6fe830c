"""Each schedule against PyTorch's own, where it has one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch.optim import lr_scheduler

from densefield import training


def rates(make: Callable[[torch.optim.Optimizer], lr_scheduler.LRScheduler], steps: int) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = make(optimizer)
    seen = []
    for _ in range(steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return seen


def test_poly_is_the_polynomial_decay() -> None:
    wanted = rates(lambda o: lr_scheduler.PolynomialLR(o, total_iters=20, power=0.9), 20)
    assert [training.poly(i, total_steps=20) for i in range(20)] == pytest.approx(wanted, rel=1e-6)
    assert training.poly(25, total_steps=20) == 0.0


def test_step_divides_every_so_many_steps() -> None:
    wanted = rates(lambda o: lr_scheduler.StepLR(o, step_size=4, gamma=0.1), 13)
    assert [training.step(i, total_steps=13, every=4) for i in range(13)] == pytest.approx(wanted)


def test_exponential_moves_once_an_epoch() -> None:
    factors = [training.exponential(i, total_steps=9, steps_per_epoch=3, gamma=0.995) for i in range(9)]
    assert factors == pytest.approx([1.0] * 3 + [0.995] * 3 + [0.995**2] * 3)


def test_cosine_rises_then_is_half_a_cosine() -> None:
    factors = [training.cosine(i, total_steps=110, warmup=10 / 110) for i in range(110)]
    assert factors[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    wanted = rates(lambda o: lr_scheduler.CosineAnnealingLR(o, T_max=100), 100)
    assert factors[10:] == pytest.approx(wanted, abs=1e-9)


def test_constant_is_one() -> None:
    assert {training.constant(i, total_steps=5) for i in range(5)} == {1.0}
