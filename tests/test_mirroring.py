from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from densefield.mirroring import mirrored, mirrored_window


@pytest.mark.parametrize(("before", "length", "after"), [*itertools.product([0, 3, 11], [1, 2, 3, 8], [0, 5, 17])])
def test_mirrored_is_numpys_reflect(before: int, length: int, after: int) -> None:
    expected = np.pad(np.arange(length), (before, after), mode="reflect" if length > 1 else "edge")
    assert mirrored(-before, length + after, length).tolist() == expected.tolist()


def test_a_window_reaches_outside_on_either_side() -> None:
    image = torch.rand(2, 3, 4, 5)
    expected = np.pad(image.numpy(), ((0, 0), (0, 0), (9, 0), (2, 11)), mode="reflect")[:, :, :-1]
    assert np.array_equal(mirrored_window(image, (-9, 3), (-2, 16)), expected)
