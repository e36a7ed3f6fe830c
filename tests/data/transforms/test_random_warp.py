import numpy as np
import pytest
from scipy import ndimage

from densefield.checks import InputError
from densefield.data.transforms import ElasticDeformation, RandomRotation, RandomScale, RandomWarp, warp
from drawing import seeded


def picture(height=30, width=44):
    smooth = ndimage.gaussian_filter(np.random.default_rng(seeded()).normal(0, 1, (height, width, 3)), (3, 3, 0))
    smooth = (smooth - smooth.min()) / np.ptp(smooth) * 255
    return smooth.astype(np.uint8), (smooth[..., 0] // 32).astype(np.uint8)


def test_drawn_factors_and_angles_stay_within_limits():
    rng = np.random.default_rng(seeded())
    scales = np.array([RandomScale(0.5, 2.0).draw(rng) for _ in range(3000)])
    assert scales.min() >= 0.5
    assert scales.max() <= 2.0
    # Means of n have deviations of (width / sqrt 12) / sqrt n, 0.0073 and 0.074: six and more of them fit.
    assert abs(np.log(scales).mean()) < 0.05  # doubling and halving are equally likely
    angles = np.array([RandomRotation(7.0).draw(rng) for _ in range(3000)])
    assert np.abs(angles).max() <= 7.0
    assert abs(angles.mean()) < 0.5


def test_fused_warp_equals_its_parts():
    image, target = picture()
    alone = RandomScale(0.5, 2.0)(image, target, np.random.default_rng(seeded(4)))
    fused = RandomWarp(scale=RandomScale(0.5, 2.0))(image, target, np.random.default_rng(seeded(4)))
    assert np.array_equal(alone[0], fused[0])
    assert np.array_equal(alone[1], fused[1])
    assert np.array_equal(RandomWarp()(image, target, np.random.default_rng(seeded(4)))[0], image)


def test_all_three_at_once_draw_in_this_order():
    image, target = picture()
    rng = np.random.default_rng(seeded(9))
    scale, degrees = RandomScale(0.5, 2.0).draw(rng), RandomRotation(20.0).draw(rng)
    size = (round(30 * scale), round(44 * scale))
    wanted = warp(image, target, scale=scale, degrees=degrees, displacement=ElasticDeformation(3.0).draw(*size, rng))
    fused = RandomWarp(RandomScale(0.5, 2.0), RandomRotation(20.0), ElasticDeformation(3.0))
    moved = fused(image, target, np.random.default_rng(seeded(9)))
    assert np.array_equal(moved[0], wanted[0])
    assert np.array_equal(moved[1], wanted[1])


def test_limits_in_the_wrong_order():
    with pytest.raises(InputError, match="degrees: wanted a finite number"):
        RandomRotation(float("nan"))
    with pytest.raises(InputError, match="degrees: wanted 0 or more"):
        RandomRotation(-5)
    with pytest.raises(InputError, match="least"):
        RandomScale(2.0, 1.0)
