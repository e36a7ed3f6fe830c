from __future__ import annotations

import math

import pytest
import torch

from densefield.ops.gaussian.reference import (
    filter_by_enumeration,
    filter_by_matrices,
    kernel_radius,
    kernel_weights,
)


def test_enumeration_of_two_points():
    values = torch.tensor([[[1.0, 10.0]]], dtype=torch.float64)
    near = math.exp(-1 / (2 * 0.7**2))
    result = filter_by_enumeration(values, torch.tensor([0.7], dtype=torch.float64))
    torch.testing.assert_close(result, values.new_tensor([[[1 + 10 * near, 10 + near]]]))


def test_matrices_equal_enumeration():
    values = torch.randn(2, 3, 7, 13, dtype=torch.float64)
    theta = torch.tensor([0.8, 3.1], dtype=torch.float64)
    torch.testing.assert_close(
        filter_by_matrices(values, theta.tolist(), [0, 0]), filter_by_enumeration(values, theta), rtol=1e-12, atol=1e-13
    )


@pytest.mark.parametrize("order", [1, 2])
def test_derivative_weights_equal_autograd(order):
    distances = torch.arange(12, dtype=torch.float64)
    theta = torch.tensor(1.7, dtype=torch.float64, requires_grad=True)
    weights = torch.exp(-distances.square() / (2 * theta**2))
    for place, wanted in enumerate(kernel_weights(distances, 1.7, order)):
        derivative = weights[place]
        for _ in range(order):
            (derivative,) = torch.autograd.grad(derivative, theta, create_graph=True)
        torch.testing.assert_close(wanted, derivative.detach())


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
    assert torch.equal(filter_by_matrices(values, [1e-200, 1e-200], [0, 0]), values)
