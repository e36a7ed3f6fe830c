import numpy as np
import pytest

from densefield.checks import InputError
from densefield.data.transforms import RandomCrop, crop
from drawing import seeded


def numbered(height, width):
    target = np.arange(height * width, dtype=np.uint8).reshape(height, width)
    return np.repeat(target[..., None], 3, axis=2), target


def test_window_inside():
    image, target = numbered(6, 9)
    cut_image, cut = crop(image, target, 2, 3, 3, 4)
    assert np.array_equal(cut, target[2:5, 3:7])
    assert np.array_equal(cut_image, image[2:5, 3:7])


def test_window_beyond_the_border_mirrors_the_image_and_ignores_the_target():
    image, target = numbered(3, 4)
    cut_image, cut = crop(image, target, -1, 2, 5, 4)
    assert cut.tolist() == [[255] * 4, [2, 3, 255, 255], [6, 7, 255, 255], [10, 11, 255, 255], [255] * 4]
    assert cut_image[..., 0].tolist() == [[6, 7, 6, 5], [2, 3, 2, 1], [6, 7, 6, 5], [10, 11, 10, 9], [6, 7, 6, 5]]


def test_every_place_is_drawn():
    image, target = numbered(5, 6)
    rng = np.random.default_rng(seeded())
    first = {int(RandomCrop(3, 4)(image, target, rng)[1][0, 0]) for _ in range(300)}
    assert first == {6 * top + left for top in range(3) for left in range(3)}


def test_small_images_are_wholly_kept():
    image, target = numbered(3, 4)
    rng = np.random.default_rng(seeded())
    for _ in range(50):
        _, cut = RandomCrop(5, 9)(image, target, rng)
        assert cut.shape == (5, 9)
        assert sorted(cut[cut != 255].tolist()) == list(range(12))


def test_bad_sizes():
    with pytest.raises(InputError, match="0x4"):
        RandomCrop(0, 4)
