"""SEG against loops over sets of pixels, and the cases that its definition names."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from densefield.checks import InputError
from densefield.metrics import SegMeasure, cell_overlaps, seg_measure
from drawing import seeded


def maps(seed: int, size: tuple[int, int] = (17, 23)) -> tuple[np.ndarray, np.ndarray]:
    """A reference of cells with background between some, and a prediction: moved, merged and split here and there."""
    rng = np.random.default_rng(seeded(seed))
    places = rng.random((14, 2)) * size
    grid = np.moveaxis(np.indices(size), 0, -1)
    cells = 1 + np.linalg.norm(grid[:, :, None] - places, axis=-1).argmin(-1)
    reference = cells * (rng.random(15) < 0.8)[cells]
    instances = np.roll(rng.integers(0, 9, 15)[cells], rng.integers(-1, 2, 2), axis=(0, 1))
    # Numbers with gaps, as tracks of which some have ended.
    return instances * 7, reference.astype(np.uint16) * 300


@pytest.mark.parametrize("seed", range(4))
def test_overlaps_are_those_of_sets_of_pixels(seed: int) -> None:
    instances, reference = maps(seed)
    first, *_, last = np.unique(reference[reference > 0])
    instances[reference == first], instances[reference == last] = 999, 0  # one found exactly, one not at all
    pixels = [
        {n: {place for place in np.ndindex(m.shape) if m[place] == n} for n in np.unique(m) if n > 0}
        for m in (instances, reference)
    ]
    wanted = []
    for cell in pixels[1].values():
        on_it = [other for other in pixels[0].values() if len(cell & other) > 0.5 * len(cell)]
        assert len(on_it) <= 1
        wanted.append(len(cell & on_it[0]) / len(cell | on_it[0]) if on_it else 0.0)
    assert cell_overlaps(instances, reference) == pytest.approx(wanted)
    assert seg_measure(instances, reference) == pytest.approx(np.mean(wanted))
    assert (wanted[0], wanted[-1]) == (1, 0)


def test_a_cell_covered_by_just_half_counts_nothing() -> None:
    reference = np.array([[1, 1, 1, 1, 0, 0, 0, 0]])
    assert seg_measure(np.array([[5, 5, 0, 0, 0, 0, 0, 0]]), reference) == 0
    assert seg_measure(np.array([[5, 5, 5, 0, 0, 0, 0, 0]]), reference) == 3 / 4
    assert seg_measure(np.array([[5, 5, 5, 5, 5, 5, 5, 5]]), reference) == 1 / 2  # all of it, and as much again
    assert seg_measure(np.array([[5, 5, 6, 6, 0, 0, 0, 0]]), reference) == 0  # split in two halves


def test_itself_is_1_and_what_the_reference_lacks_does_not_count() -> None:
    _, reference = maps(5)
    reference[0, :] = 0
    assert seg_measure(reference, reference) == 1
    more = reference.copy()
    more[0, :] = 9
    assert seg_measure(more, reference) == 1
    assert cell_overlaps(reference + 1, reference).size == np.unique(reference).size - 1
    assert math.isnan(seg_measure(reference, np.zeros_like(reference)))
    assert cell_overlaps(np.zeros((0, 4), int), np.zeros((0, 4), int)).size == 0


def test_masks_are_split_where_cells_touch_at_no_side() -> None:
    mask = np.array([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1]], bool)
    assert cell_overlaps(mask, np.array([[4, 4, 0, 0], [4, 4, 0, 0], [0, 0, 2, 2]])).tolist() == [1, 1]


def test_a_set_is_the_mean_over_cells_and_not_over_images() -> None:
    few, many = np.eye(1, 4, dtype=int), np.array([[1, 2, 3, 4]])
    first, second = SegMeasure(), SegMeasure()
    first.update(few, few)
    second.update(np.zeros_like(many), many)
    first.merge(second)
    first.all_reduce()
    assert (first.mean(), first.cells) == (1 / 5, 5)
    assert math.isnan(SegMeasure().mean())
    assert first.sums.dtype == torch.float64


@pytest.mark.parametrize(
    ("instances", "message"),
    [
        (np.zeros((2, 2)), "instances: wanted integers or booleans, received float64"),
        (np.full((2, 2), -1), "instances: wanted 0 or more everywhere, received -1"),
        (np.zeros(4, int), r"instances: wanted shape \(H, W\), received \(4,\)"),
        (np.zeros((2, 3), int), r"instances: wanted the reference's shape \(2, 2\), received \(2, 3\)"),
    ],
)
def test_bad_input(instances: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        seg_measure(instances, np.ones((2, 2), int))
