from __future__ import annotations

import math

import pytest
import torch

from ops.gaussian.dense import axis_weights, dense_filter


def test_two_points_by_hand():
    values = torch.tensor([[[1.0, 10.0]]], dtype=torch.float64)
    near = math.exp(-1 / (2 * 0.7**2))
    result = dense_filter(values, torch.tensor([0.7], dtype=torch.float64))
    torch.testing.assert_close(result, values.new_tensor([[[1 + 10 * near, 10 + near]]]))


@pytest.mark.parametrize("order", [1, 2])
def test_derivative_weights_equal_autograd(order):
    distances = torch.arange(12, dtype=torch.float64)
    theta = torch.tensor(1.7, dtype=torch.float64, requires_grad=True)
    weights = torch.exp(-distances.square() / (2 * theta**2))
    for place, found in enumerate(axis_weights(distances, 1.7, order)):
        derivative = weights[place]
        for _ in range(order):
            (derivative,) = torch.autograd.grad(derivative, theta, create_graph=True)
        torch.testing.assert_close(found, derivative.detach())
