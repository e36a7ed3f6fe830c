from __future__ import annotations

import pytest
import torch

from densefield.ops.gaussian.plain import filter_grid, kernel_radius, kernel_weights
from ops.gaussian.dense import axis_weights, dense_filter


@pytest.mark.parametrize("orders", [[0, 0], [1, 0], [2, 1]])
def test_equals_the_dense_sum(orders):
    values = torch.randn(2, 3, 7, 13, dtype=torch.float64)
    theta = torch.tensor([0.8, 3.1], dtype=torch.float64)
    wanted = dense_filter(values, theta, orders)
    torch.testing.assert_close(filter_grid(values, theta.tolist(), orders), wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("order", [0, 1, 2])
def test_weights_are_the_formula(order):
    distances = torch.arange(12, dtype=torch.float64)
    torch.testing.assert_close(kernel_weights(distances, 1.7, order), axis_weights(distances, 1.7, order))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("theta", [0.01, 0.173, 0.174, 0.5, 1.0, 3.0, 40.0])
def test_the_cut_part_is_below_rounding(dtype, theta):
    radius = kernel_radius(theta, 0, dtype, 10**6)
    distances = torch.arange(0, 4 * radius + 40, dtype=torch.float64)
    weights = kernel_weights(distances, theta, 0)
    whole = weights[0] + 2 * weights[1:].sum()
    assert 2 * weights[radius + 1 :].sum() / whole < (0.2 if theta >= 1 else 1.0) * torch.finfo(dtype).eps
    assert kernel_radius(theta, 0, dtype, 5) <= 4


def test_tiny_width_is_the_identity():
    values = torch.rand(1, 1, 5, 6)
    assert torch.equal(filter_grid(values, [1e-200, 1e-200], [0, 0]), values)
