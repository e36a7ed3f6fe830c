from __future__ import annotations

import math

import pytest
import torch

from densefield.ops.permutohedral.plain import axis_steps, simplex
from rounding import barycentric_rounding


@pytest.mark.parametrize("d", [1, 2, 3, 5, 9, 16])
def test_barycentric_weights_give_the_point_back(d):
    features = 20 * torch.randn(1, d, 30, dtype=torch.float64)
    digits, weights, axes = simplex(features)
    steps = axis_steps(d, features.device)[axes]
    steps[..., 0, :] = 0
    corners = digits[..., None, :] + steps.cumsum(-2)  # (1, 30, d+1, d)
    found = (corners * weights[..., None]).sum(-2)
    places = torch.arange(1.0, d + 1, dtype=torch.float64)
    scaled = features.transpose(1, 2) * (d + 1) * math.sqrt(2 / 3) / (places * (places + 1)).sqrt()
    wanted = (scaled.cumsum(-1) + places * scaled) / (d + 1)  # m_k = (e_0 - e_k) / (d + 1)
    close = barycentric_rounding(features, torch.float64)  # of each weight, and so much of each corner
    torch.testing.assert_close(found, wanted, rtol=0, atol=(d + 1) * close * float(corners.abs().max() + 1))
    assert weights.min() >= -close
