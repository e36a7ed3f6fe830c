import numpy as np
import pytest
from scipy import ndimage

from densefield.checks import InputError
from densefield.data.transforms import warp
from drawing import seeded


def picture(height=30, width=44):
    smooth = ndimage.gaussian_filter(np.random.default_rng(seeded()).normal(0, 1, (height, width, 3)), (3, 3, 0))
    smooth = (smooth - smooth.min()) / np.ptp(smooth) * 255
    return smooth.astype(np.uint8), (smooth[..., 0] // 32).astype(np.uint8)


def test_nothing_to_do_changes_nothing():
    image, target = picture()
    same_image, same = warp(image, target)
    assert np.array_equal(same_image, image)
    assert np.array_equal(same, target)


@pytest.mark.parametrize(("scale", "degrees"), [(1.0, 13.0), (1.7, 0.0), (0.8, -40.0), (2.0, 90.0)])
def test_against_scipy(scale, degrees):
    image, target = picture()
    moved_image, moved = warp(image, target, scale=scale, degrees=degrees)
    # Centre to centre, output pixels to input pixels, in (row, column) order.
    angle = np.deg2rad(degrees)
    matrix = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) / scale
    size = tuple(round(scale * side) for side in target.shape)
    offset = (np.array(target.shape) - 1) / 2 - matrix @ ((np.array(size) - 1) / 2)
    for channel in range(3):
        wanted = ndimage.affine_transform(
            image[..., channel].astype(float), matrix, offset, size, order=1, mode="mirror"
        )
        # OpenCV rounds places to 1/32 of a pixel.
        assert np.abs(moved_image[..., channel] - wanted).max() < 2.5
    nearest = ndimage.affine_transform(target, matrix, offset, size, order=0, mode="grid-constant", cval=255)
    assert (nearest == moved).mean() > 0.98


def test_positive_angles_turn_counter_clockwise():
    target = np.zeros((21, 21), np.uint8)
    target[10, 18] = 1  # right of the centre
    _, moved = warp(np.zeros((21, 21, 3), np.uint8), target, degrees=90.0)
    assert np.argwhere(moved == 1).tolist() == [[2, 10]]  # above it


def test_displacement_says_where_a_pixel_is_read():
    image, target = picture()
    displacement = np.zeros((2, 30, 44), np.float32)
    displacement[0], displacement[1] = 5, -3  # from 5 to the right and 3 above
    moved_image, moved = warp(image, target, displacement=displacement)
    assert np.array_equal(moved[3:, :-5], target[:-3, 5:])
    assert np.array_equal(moved_image[3:, :-5], image[:-3, 5:])
    assert (moved[:3] == 255).all()
    assert (moved[:, -5:] == 255).all()
    assert np.array_equal(moved_image[3:, -5], image[:-3, -2])  # mirrored about the last column


def test_bad_arguments():
    image, target = picture()
    with pytest.raises(InputError, match="scale"):
        warp(image, target, scale=0.0)
    with pytest.raises(InputError, match=r"displacement: wanted shape \(2, 30, 44\)"):
        warp(image, target, displacement=np.zeros((30, 44, 2), np.float32))
    with pytest.raises(InputError, match="sides"):
        warp(np.zeros((1, 40_000, 3), np.uint8), np.zeros((1, 40_000), np.uint8))


def test_a_displacement_beyond_all_pictures_is_refused() -> None:
    image, target = np.zeros((4, 5, 3), np.uint8), np.zeros((4, 5), np.uint8)
    with pytest.raises(InputError, match="displacement: wanted at most 32766 pixels, received 1e\\+10"):
        warp(image, target, displacement=np.full((2, 4, 5), 1e10, np.float32))
