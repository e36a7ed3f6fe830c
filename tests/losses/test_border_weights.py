"""`border_weights` against equation 2 evaluated by brute force over all pairs of pixels."""

from __future__ import annotations

import math

import numpy as np
import pytest

from densefield.checks import InputError
from densefield.losses import border_weights
from drawing import seeded


def brute_force(instances, class_weights=(1.0, 1.0), w0=10.0, sigma=5.0):
    places = {k: np.argwhere(instances == k) for k in np.unique(instances) if k != 0}
    weights = np.empty(instances.shape)
    for place in np.ndindex(instances.shape):
        distances = sorted(math.sqrt(((found - place) ** 2).sum(1).min()) for found in places.values())
        weights[place] = class_weights[int(instances[place] > 0)]
        if len(distances) >= 2:
            weights[place] += w0 * math.exp(-((distances[0] + distances[1]) ** 2) / (2 * sigma**2))
    return weights


def blobs(seed, shape, count):
    """Nearest-seed cells cut off at a radius: some touch, some stand alone; numbered with gaps."""
    rng = np.random.default_rng(seeded(seed))
    seeds = rng.random((count, len(shape))) * shape
    grid = np.moveaxis(np.indices(shape), 0, -1)
    distance = np.linalg.norm(grid[..., None, :] - seeds, axis=-1)
    return np.where(distance.min(-1) < 5, 3 * distance.argmin(-1) + 2, 0)


CLOSE = {"rtol": 1e-7, "atol": 0}  # computed in float64, rounded once to float32


@pytest.mark.parametrize(("shape", "count"), [((40, 33), 7), ((17, 61), 5), ((13, 1), 2), ((20, 20), 1), ((4, 5), 0)])
def test_equals_equation_2(shape, count):
    instances = blobs(count, shape, count) if count else np.zeros(shape, int)
    weights = border_weights(instances, class_weights=(0.7, 2.5))
    assert weights.dtype == np.float32
    np.testing.assert_allclose(weights, brute_force(instances, (0.7, 2.5)), **CLOSE)


def test_far_objects_need_no_transform():
    # Small sigma on a wide image: most windows do not meet, as for many cells on a large slide.
    instances = blobs(11, (30, 90), 9)
    weights = border_weights(instances, w0=4.0, sigma=1.2)
    np.testing.assert_allclose(weights, brute_force(instances, w0=4.0, sigma=1.2), **CLOSE)


def test_gap_of_one_pixel_by_hand():
    # In the gap d1 = d2 = 1; at the edge of an object 0 and 2.
    weights = border_weights(np.array([[1, 1, 0, 2, 2]] * 3))
    np.testing.assert_allclose(weights[1, 1:4], 1 + 10 * np.exp(-4 / 50), **CLOSE)


def test_boolean_maps_are_split_into_4_connected_components():
    mask = np.ones((9, 9), bool)
    mask[np.arange(9), np.arange(9)] = False  # a diagonal gap, which 8-connected components would leap over
    instances = np.where(mask, np.where(np.arange(9)[:, None] > np.arange(9), 1, 2), 0)
    np.testing.assert_array_equal(border_weights(mask), border_weights(instances))
    assert border_weights(mask)[4, 4] > 10


def test_volumes():
    instances = blobs(2, (6, 12, 14), 4)
    np.testing.assert_allclose(border_weights(instances), brute_force(instances), **CLOSE)


def test_without_border_term():
    weights = border_weights(np.array([[0, 1], [2, 1]]), class_weights=(1.0, 3.0), w0=0.0)
    assert weights.tolist() == [[1, 3], [3, 3]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"instances": np.array([[-1, 0]])}, "instances: wanted 0 or more everywhere, received -1"),
        ({"instances": np.array([[0.5, 0]])}, "instances: wanted integers"),
        ({"instances": np.array([1, 0])}, r"instances: wanted shape \(H, W\), received \(2,\)"),
        ({"instances": np.eye(2, dtype=int), "sigma": 0.0}, "sigma: wanted a positive"),
        ({"instances": np.eye(2, dtype=int), "w0": math.nan}, "w0: wanted 0 or more"),
        ({"instances": np.eye(2, dtype=int), "class_weights": [1, 2, 3]}, r"class_weights: wanted shape \(2,\)"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(InputError, match=message):
        border_weights(arguments.pop("instances"), **arguments)
