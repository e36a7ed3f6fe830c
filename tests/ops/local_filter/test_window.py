from __future__ import annotations

import itertools

import pytest
import torch

from densefield.ops.local_filter.window import Window


@pytest.mark.parametrize(("height", "width", "size", "rate"), [(7, 9, 3, 1), (5, 4, 9, 1), (11, 6, 5, 4), (1, 8, 3, 2)])
def test_slices_enumerate_each_pair_once(height, width, size, rate):
    window = Window(1, height, width, size, rate)
    numbers = torch.arange(height * width).view(height, width)
    found: list[tuple[int, int]] = []
    for p, q in window.slices():
        found += zip(numbers[p].flatten().tolist(), numbers[q].flatten().tolist(), strict=True)
    reach = size // 2 * rate
    wanted = {
        (a, b)
        for a, b in itertools.combinations(range(height * width), 2)
        for dy, dx in [(b // width - a // width, b % width - a % width)]
        if abs(dy) <= reach and abs(dx) <= reach and dy % rate == 0 and dx % rate == 0
    }
    assert len(found) == len(set(found))
    assert {tuple(sorted(pair)) for pair in found} == wanted
    assert window.pairs == sum(1 for _ in window.slices())
    outside = window.outside(numbers.device, torch.float64)
    assert outside.sum() == size**2 * height * width - 2 * len(wanted) - height * width
