"""Runs against encoders written from the same specifications, and damaged ones."""

from __future__ import annotations

import numpy as np
import pytest
from brushes import packed

from densefield.checks import InputError
from densefield.data.imports.run_lengths import brush_mask, coco_counts, coco_mask
from drawing import seeded


@pytest.mark.parametrize("size", [(1, 1), (7, 13), (40, 3)])
@pytest.mark.parametrize("share", [0, 0.1, 0.9, 1])
def test_a_brush_is_unpacked_exactly(size: tuple[int, int], share: float) -> None:
    mask = np.random.default_rng(seeded(4)).random(size) < share
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


def compact(counts: list[int]) -> str:
    """COCO's text, by arithmetic: least digits to the base 32, 32 more where another follows."""
    text = ""
    for place, count in enumerate(counts):
        number = count - counts[place - 2] if place > 2 else count
        while not -16 <= number < 16:
            text += chr(48 + 32 + number % 32)
            number //= 32
        text += chr(48 + number % 32)
    return text


def test_cocos_text_is_read_exactly() -> None:
    counts = [0, 1, 31, 32, 1023, 5, 100_000, 1, 15, 16, 17, 0]
    assert coco_counts(compact(counts)) == counts
    assert coco_counts("") == []


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools' own
@pytest.mark.parametrize("share", [0, 0.02, 0.5, 1])
def test_cocos_text_is_what_pycocotools_writes(share: float) -> None:
    masks = pytest.importorskip("pycocotools.mask")
    mask = np.random.default_rng(seeded(5)).random((37, 61)) < share
    text = masks.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()
    assert np.array_equal(coco_mask(coco_counts(text), (37, 61)), mask)


@pytest.mark.parametrize(("text", "line"), [("0~", "holds '~', wanted letters"), ("0P", "ends within a number")])
def test_a_damaged_text_is_told(text: str, line: str) -> None:
    with pytest.raises(InputError, match=line):
        coco_counts(text)
