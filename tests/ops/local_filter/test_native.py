from __future__ import annotations

import pytest
import torch

from densefield.ops import native
from densefield.ops.local_filter import native as kernels
from densefield.ops.local_filter import plain
from densefield.ops.local_filter.filter import Filter, Options
from densefield.ops.local_filter.window import Window
from drawing import seeded
from rounding import Rounding

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
    weights = torch.randn((window.batch, window.pairs, *size[2:]), generator=generator)
    plain.clear_outside(window, weights)
    with Rounding(torch.float32) as rounding:
        wanted = plain.pair_gradient(window, embeddings.double(), weights.double(), 0.7, distance)
        wanted_total = (weights.double() * plain.pair_distances(window, embeddings.double(), distance)).sum()
    by = Filter.by(embeddings, 0.7, Options(side, rate, distance=distance))
    planes = kernels.planes_of(window, weights)
    gradient, total = kernels.pair_gradient(by, embeddings, planes, True)
    rounding.within((gradient, torch.tensor(total, dtype=torch.float64)), (wanted, wanted_total))
    only, _ = kernels.pair_gradient(by, embeddings, planes, False)
    assert torch.equal(only, gradient)
