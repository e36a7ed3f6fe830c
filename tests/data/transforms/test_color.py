import colorsys

import numpy as np
import pytest

from densefield.checks import InputError
from densefield.data.transforms import ColorJitter
from drawing import seeded

IMAGE = np.random.default_rng(seeded()).integers(60, 180, (9, 11, 3), dtype=np.uint8)
TARGET = np.zeros((9, 11), np.uint8)


ROUNDED = 0.5 + 3 * 255 * 2**-11  # to whole numbers, of three products whose factors OpenCV keeps to ten bits
LUMA = np.array([0.299, 0.587, 0.114])


class Most:
    """A generator that draws the upper limit: a factor drawn may be as good as 1, and then nothing is seen."""

    def uniform(self, low, high):
        return high


def jittered(jitter, image=IMAGE, rng=None):
    return jitter(image, TARGET, rng or Most())[0].astype(float)


def test_nothing_asked_nothing_changed():
    assert np.array_equal(jittered(ColorJitter(0, 0, 0, 0)), IMAGE)


def test_brightness_is_a_factor():
    assert np.abs(jittered(ColorJitter(0.4, 0, 0, 0)) - 1.4 * IMAGE).max() <= ROUNDED


def test_contrast_keeps_the_mean_brightness():
    mean = (IMAGE @ LUMA).mean()
    changed = jittered(ColorJitter(0, 0.4, 0, 0))
    assert np.abs(changed - (mean + 1.4 * (IMAGE - mean))).max() <= ROUNDED
    assert abs((changed @ LUMA).mean() - mean) <= ROUNDED


def test_saturation_keeps_each_pixels_brightness_and_grey():
    changed, own = jittered(ColorJitter(0, 0, 0.5, 0)), (IMAGE @ LUMA)[..., None]
    assert np.abs(changed - (own + 1.5 * (IMAGE - own))).max() <= ROUNDED
    assert np.abs(changed @ LUMA - IMAGE @ LUMA).max() <= ROUNDED
    grey = np.full((9, 11, 3), 77, np.uint8)
    assert np.abs(jittered(ColorJitter(0, 0, 0.6, 0.5), grey) - 77).max() <= ROUNDED


def test_drawn_factors_stay_within_limits():
    flat = np.full((1, 1, 3), 100, np.uint8)
    found = [jittered(ColorJitter(0.4, 0, 0, 0), flat, np.random.default_rng(seeded(seed))) for seed in range(200)]
    assert 60 - ROUNDED <= np.min(found) < 100 < np.max(found) <= 140 + ROUNDED


def test_a_third_of_a_turn_swaps_the_primaries():
    red = np.zeros((9, 11, 3), np.uint8)
    red[..., 0] = 90
    changed, _ = ColorJitter(0, 0, 0, 1 / 3)(red, TARGET, Most())
    assert changed[0, 0].tolist() == [0, 90, 0]
    assert colorsys.rgb_to_hsv(*(changed[0, 0] / 255))[0] == 1 / 3


def test_values_are_clipped_not_wrapped():
    bright = np.full((9, 11, 3), 250, np.uint8)
    assert (jittered(ColorJitter(0.5, 0, 0, 0), bright) == 255).all()


@pytest.mark.parametrize("amount", [-0.1, 1.5, float("nan")])
def test_amounts_that_make_no_factor_are_named(amount):
    with pytest.raises(InputError, match="saturation: wanted"):
        ColorJitter(saturation=amount)
