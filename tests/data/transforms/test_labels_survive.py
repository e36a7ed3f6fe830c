"""What every transform owes: labels are copied, never mixed, and image and target stay together."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from densefield.data.transforms import (
    ColorJitter,
    Compose,
    ElasticDeformation,
    RandomCrop,
    RandomDihedral,
    RandomFlip,
    RandomRotation,
    RandomScale,
    RandomWarp,
)
from drawing import seeded

EVERY = [
    ColorJitter(0.3, 0.3, 0.3, 0.1),
    ElasticDeformation(),
    RandomCrop(20, 90),
    RandomDihedral(),
    RandomFlip(),
    RandomRotation(45.0),
    RandomScale(0.4, 2.2),
    RandomWarp(RandomScale(0.5, 2.0), RandomRotation(30.0), ElasticDeformation(5.0)),
    Compose(RandomScale(0.5, 2.0), RandomCrop(64, 64), RandomFlip(), RandomRotation(20.0), ElasticDeformation()),
]


@pytest.mark.parametrize("transform", EVERY, ids=repr)
@pytest.mark.parametrize("shape", [(40, 56), (1, 1), (7, 90)])
def test_no_label_is_made_up(transform, shape):
    rng = np.random.default_rng(seeded())
    for _ in range(10):
        # Labels far apart, so that any mean of two would be a new one.
        target = rng.choice(np.array([0, 17, 101, 203], np.uint8), shape)
        image = rng.integers(0, 256, (*shape, 3), dtype=np.uint8)
        kept = image.copy(), target.copy()
        moved_image, moved = transform(image, target, rng)
        assert set(np.unique(moved)) <= set(np.unique(target)) | {255}
        assert moved_image.shape == (*moved.shape, 3)
        assert moved_image.dtype == moved.dtype == np.uint8
        torch.from_numpy(moved_image), torch.from_numpy(moved)  # refuses negative strides
        assert np.array_equal(image, kept[0])
        assert np.array_equal(target, kept[1])


def resamplings(transform):
    return sum(map(resamplings, transform.steps)) if isinstance(transform, Compose) else 1


@pytest.mark.parametrize("transform", EVERY[1:], ids=repr)
def test_image_and_target_move_together(transform):
    """An image that shows its own target still shows it, wherever nothing is mixed in from beside an edge."""
    coarse = np.random.default_rng(seeded(5)).integers(0, 2, (4, 6), dtype=np.uint8)
    target = np.kron(coarse, np.ones((20, 20), np.uint8))
    image = np.repeat(target[..., None] * np.uint8(200), 3, axis=2)
    # Marks lie on either side of an edge, the image's own too: neighbours without one are alike. What was resampled
    # before may have left out one of two pixels.
    reach = 2 if isinstance(transform, Compose) else 1
    around = np.pad(target, 1, constant_values=2)
    edges = ndimage.maximum_filter(around, 2 * reach + 1) != ndimage.minimum_filter(around, 2 * reach + 1)
    marks = np.repeat(edges[1:-1, 1:-1, None] * np.uint8(255), 3, axis=2)
    for seed in range(5):
        moved_image, moved = transform(image, target, np.random.default_rng(seeded(seed)))
        moved_marks, again = transform(marks, target, np.random.default_rng(seeded(seed)))
        assert np.array_equal(again, moved)
        pure = (moved != 255) & (moved_marks[..., 0] == 0)
        assert pure.mean() > 0.1
        # A mark that weighs too little to be seen, in any of several resamplings, moves the image no further.
        assert np.abs(moved_image[pure] - 200.0 * moved[pure, None]).max() <= resamplings(transform)


@pytest.mark.parametrize("transform", EVERY, ids=repr)
def test_all_chance_comes_from_the_generator(transform):
    image = np.random.default_rng(seeded(1)).integers(0, 256, (40, 56, 3), dtype=np.uint8)
    target = image[..., 0].copy()
    once, again, other = (transform(image, target, np.random.default_rng(seeded(seed))) for seed in (3, 3, 4))
    assert np.array_equal(once[0], again[0])
    assert np.array_equal(once[1], again[1])
    # A coin may fall on the same side twice; anything finer may not.
    if not isinstance(transform, (RandomFlip, RandomDihedral)):
        assert once[0].shape != other[0].shape or not np.array_equal(once[0], other[0])
