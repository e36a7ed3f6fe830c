from __future__ import annotations

import math

import torch

from ops.permutohedral.dense import dense_filter


def test_two_points_by_hand():
    features = torch.tensor([[[0.0, 3.0], [0.0, 4.0]]], dtype=torch.float64)
    k = math.exp(-12.5)
    out = dense_filter(features.new_tensor([[[1.0, 10.0]]]), features)
    torch.testing.assert_close(out, features.new_tensor([[[1 + 10 * k, k + 10]]]))
