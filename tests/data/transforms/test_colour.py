import colorsys

import numpy as np
import pytest

from densefield.checks import InputError
from densefield.data.transforms import ColourJitter
from drawing import seeded

IMAGE = np.random.default_rng(seeded()).integers(60, 180, (9, 11, 3), dtype=np.uint8)
TARGET = np.zeros((9, 11), np.uint8)


def jittered(jitter, image=IMAGE, seed=0):
    return jitter(image, TARGET, np.random.default_rng(seeded(seed)))[0].astype(float)


def test_nothing_asked_nothing_changed():
    assert np.array_equal(jittered(ColourJitter(0, 0, 0, 0)), IMAGE)


def test_brightness_is_a_factor():
    changed = jittered(ColourJitter(0.4, 0, 0, 0))
    factor = changed.mean() / IMAGE.mean()
    assert 0.6 < factor < 1.4
    assert abs(factor - 1) > 0.01
    assert np.abs(changed - factor * IMAGE).max() < 1.5


def test_contrast_keeps_the_mean_brightness():
    luma = np.array([0.299, 0.587, 0.114])
    changed = jittered(ColourJitter(0, 0.4, 0, 0))
    assert abs((changed @ luma).mean() - (IMAGE @ luma).mean()) < 1.0
    assert abs(changed.std() / IMAGE.std() - 1) > 0.02


def test_saturation_keeps_each_pixels_brightness_and_grey():
    luma = np.array([0.299, 0.587, 0.114])
    changed = jittered(ColourJitter(0, 0, 0.6, 0))
    assert np.abs(changed @ luma - IMAGE @ luma).max() < 1.5
    grey = np.full((9, 11, 3), 77, np.uint8)
    assert np.abs(jittered(ColourJitter(0, 0, 0.6, 0.5), grey) - 77).max() <= 1


def test_a_third_of_a_turn_swaps_the_primaries():
    red = np.zeros((9, 11, 3), np.uint8)
    red[..., 0] = 90

    class Turn:
        def uniform(self, low, high):
            return high

    changed, _ = ColourJitter(0, 0, 0, 1 / 3)(red, TARGET, Turn())
    assert changed[0, 0].tolist() == [0, 90, 0]
    assert colorsys.rgb_to_hsv(*(changed[0, 0] / 255))[0] == 1 / 3


def test_values_are_clipped_not_wrapped():
    bright = np.full((9, 11, 3), 250, np.uint8)
    results = [jittered(ColourJitter(0.5, 0, 0, 0), bright, seed) for seed in range(8)]
    assert max(result.max() for result in results) == 255
    assert min(result.min() for result in results) >= 124


@pytest.mark.parametrize("amount", [-0.1, 1.5, float("nan")])
def test_amounts_that_make_no_factor_are_named(amount):
    with pytest.raises(InputError, match="saturation: wanted"):
        ColourJitter(saturation=amount)
