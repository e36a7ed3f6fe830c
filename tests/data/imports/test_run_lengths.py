"""Runs against encoders written from the same specifications, and damaged ones."""

from __future__ import annotations

import numpy as np
import pytest
from brushes import packed

from densefield.checks import InputError
from densefield.data.imports.run_lengths import brush_mask


@pytest.mark.parametrize("size", [(1, 1), (7, 13), (40, 3)])
@pytest.mark.parametrize("share", [0, 0.1, 0.9, 1])
def test_a_brush_is_unpacked_exactly(size: tuple[int, int], share: float) -> None:
    mask = np.random.default_rng(4).random(size) < share
    assert np.array_equal(brush_mask(packed(mask), size), mask)


@pytest.mark.parametrize(
    ("damage", "line"),
    [
        (lambda data: data[:-1], "ends early"),
        (lambda data: data[:2], "ends early"),
        (lambda data: [300, *data], "whole numbers from 0 to 255"),
        (lambda data: ["x", *data], "whole numbers from 0 to 255"),
        (lambda data: [255, *data[1:]], "holds 4278190164 values, wanted 4 for each of 7x3 pixels"),
        (lambda data: [*data[:4], data[4] ^ 8, *data[5:]], "holds values of 7 bits, wanted 8"),
    ],
)
def test_a_damaged_brush_is_told(damage: object, line: str) -> None:
    data = packed(np.eye(3, 7, dtype=bool))
    assert callable(damage)
    with pytest.raises(InputError, match=line):
        brush_mask(damage(data), (3, 7))
