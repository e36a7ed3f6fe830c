from __future__ import annotations

import pytest
import torch

from densefield.ops import native
from densefield.ops.local_filter import kernels, shifts
from densefield.ops.local_filter.window import Window
from drawing import seeded

# (B, D, H, W), window, rate: several bands and tiles; two groups of channels and one over; results past the caches
CASES = [
    ((2, 3, 70, 120), 9, 1),
    ((1, 67, 9, 20), 5, 1),
    ((1, 5, 67, 49), 13, 1),
    ((1, 3, 60, 130), 5, 11),
    ((1, 4, 520, 530), 3, 1),
]


@pytest.mark.skipif(not native.available(), reason="the native library is not here")
@pytest.mark.parametrize("distance", ["l1", "l2", "dot"])
@pytest.mark.parametrize(("size", "side", "rate"), CASES)
def test_pair_gradient_equals_that_of_plain_torch(size, side, rate, distance):
    generator = torch.Generator().manual_seed(seeded())
    embeddings = torch.randn(size, generator=generator)
    window = Window.over(embeddings, side, rate)
    distances = shifts.pair_distances(window, embeddings.double(), distance)
    weights = torch.randn(distances.shape, generator=generator, dtype=torch.float64)
    shifts.clear_outside(window, weights)
    wanted = shifts.pair_gradient(window, embeddings.double(), weights, 0.7, distance)
    planes = kernels.planes_of(window, weights.float())
    gradient, total = kernels.pair_gradient(window, embeddings, planes, 0.7, distance, True)
    assert (gradient.double() - wanted).abs().max() <= 1e-6 * wanted.abs().max()
    assert abs(total - (weights * distances).sum()) <= 1e-6 * (weights * distances).abs().sum()
    only, _ = kernels.pair_gradient(window, embeddings, planes, 0.7, distance, False)
    assert torch.equal(only, gradient)
