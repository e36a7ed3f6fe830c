from __future__ import annotations

import math

import pytest
import torch

from densefield.checks import InputError
from densefield.refine.joint_bilateral import joint_bilateral_filter


def test_equals_its_formula_pixel_by_pixel():
    scores, image = torch.rand(1, 2, 6, 7, dtype=torch.float64), torch.rand(1, 3, 6, 7, dtype=torch.float64)
    result = joint_bilateral_filter(scores, image, sigma_space=1.5, sigma_range=0.3, window=5)
    for y in range(6):
        for x in range(7):
            total, norm = torch.zeros(2, dtype=torch.float64), 0.0
            for v in range(max(0, y - 2), min(6, y + 3)):
                for u in range(max(0, x - 2), min(7, x + 3)):
                    color = (image[0, :, y, x] - image[0, :, v, u]).square().sum().item() / (2 * 0.3**2)
                    weight = math.exp(-((y - v) ** 2 + (x - u) ** 2) / (2 * 1.5**2) - color)
                    total, norm = total + weight * scores[0, :, v, u], norm + weight
            torch.testing.assert_close(result[0, :, y, x], total / norm)


def test_bad_input_is_named():
    with pytest.raises(InputError, match="sigma_range"):
        joint_bilateral_filter(torch.zeros(1, 1, 3, 3), torch.zeros(1, 3, 3, 3), sigma_range=0.0)
    with pytest.raises(InputError, match="image"):
        joint_bilateral_filter(torch.zeros(1, 1, 3, 3), torch.zeros(3, 3, 3))
