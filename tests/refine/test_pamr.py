from __future__ import annotations

import itertools

import pytest
import torch

from densefield.checks import InputError
from densefield.refine.pamr import DILATIONS, pamr


def test_equals_its_formula_pixel_by_pixel():
    masks, image = torch.rand(1, 2, 5, 6, dtype=torch.float64), torch.rand(1, 3, 5, 6, dtype=torch.float64)
    dilations = (1, 3)
    wanted = masks
    for _ in range(2):
        step = torch.empty_like(wanted)
        for y, x in itertools.product(range(5), range(6)):
            places = [
                (min(max(y + dy * d, 0), 4), min(max(x + dx * d, 0), 5))
                for d in dilations
                for dy, dx in itertools.product((-1, 0, 1), repeat=2)
            ]
            seen = torch.stack([image[0, :, v, u] for v, u in places])  # centres among them
            others = [place for i, place in enumerate(places) if i % 9 != 4]
            colors = torch.stack([image[0, :, v, u] for v, u in others])
            alpha = (-(colors - image[0, :, y, x]).abs() / (1e-8 + 0.1 * seen.std(0))).mean(1).softmax(0)
            step[0, :, y, x] = sum(a * wanted[0, :, v, u] for a, (v, u) in zip(alpha, others, strict=True))
        wanted = step
    torch.testing.assert_close(pamr(masks, image, iterations=2, dilations=dilations), wanted)


def test_published_settings_keep_constants_and_carry_gradients():
    assert DILATIONS == (1, 2, 4, 8, 12, 24)
    image = torch.rand(2, 3, 30, 31, dtype=torch.float64)
    masks = torch.full((2, 4, 30, 31), 0.25, dtype=torch.float64, requires_grad=True)
    result = pamr(masks, image)
    torch.testing.assert_close(result, masks)
    result.sum().backward()
    assert masks.grad.sum().item() == pytest.approx(masks.numel(), rel=1e-9)


def test_bad_input_is_named():
    with pytest.raises(InputError, match=r"image: .*\(1, 3, 5, 6\)"):
        pamr(torch.zeros(1, 2, 5, 5), torch.zeros(1, 3, 5, 6))
    with pytest.raises(InputError, match="dilations"):
        pamr(torch.zeros(1, 2, 5, 5), torch.zeros(1, 3, 5, 5), dilations=(0,))
