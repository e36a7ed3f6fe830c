"""Outlines against scikit-image, which asks of every pixel's center whether it lies inside."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from skimage import draw

from densefield.checks import InputError
from densefield.data.imports.shapes import ellipse, painted, polygon
from drawing import seeded


def filled(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(size, bool)
    mask[polygon(points, "here")(size)] = True
    return mask


@pytest.mark.parametrize("size", [(1, 1), (7, 13), (90, 121)])
def test_polygons_also_those_that_cross_themselves(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(seeded(10))
    for _ in range(100):
        points = rng.random((rng.integers(3, 30), 2)) * [size[1] + 1, size[0] + 1] - 0.5
        wanted = np.zeros(size, bool)
        wanted[draw.polygon(points[:, 1] - 0.5, points[:, 0] - 0.5, size)] = True
        assert np.array_equal(filled(points, size), wanted)


def test_shapes_that_share_a_border_share_no_pixel_and_leave_none() -> None:
    """Also where the border runs through pixels' centers."""
    left = filled(np.array([[0, 0], [2.5, 0], [2.5, 2.5], [0, 2.5]]), (5, 5))
    right = filled(np.array([[2.5, 0], [5, 0], [5, 2.5], [2.5, 2.5]]), (5, 5))
    below = filled(np.array([[0, 2.5], [5, 2.5], [5, 5], [0, 5]]), (5, 5))
    assert np.array_equal(left.astype(int) + right + below, np.ones((5, 5)))


def test_what_covers_no_center_is_counted() -> None:
    size, left_out = (4, 4), Counter[str]()
    thin = polygon(np.array([[1.1, 1.1], [1.2, 1.1], [1.2, 1.2]]), "here")
    flat = polygon(np.array([[0.0, 1.0], [4, 1], [2, 1]]), "here")
    assert painted([(1, thin), (2, flat)], 7, left_out)(size).tolist() == [[7] * 4] * 4
    assert left_out == {"shape without a pixel": 2}


def test_points_up_to_a_pixel_beyond_the_image_are_cut_others_refused() -> None:
    assert filled(np.array([[-1, -1], [5, -1], [5, 5], [-1, 5]]), (4, 4)).all()
    with pytest.raises(InputError, match=r"here: the point \(5.5, 0\) lies outside of the image, which has 4x4 pixels"):
        filled(np.array([[0, 0], [5.5, 0], [0, 4]]), (4, 4))
    with pytest.raises(InputError, match="here: a polygon of 1 point; wanted at least 3"):
        polygon(np.array([[0, 0]]), "here")


def test_ellipses_are_turned_clockwise() -> None:
    y, x = np.mgrid[:60, :80] + 0.5
    for degrees in (0, 30, 90, 200, -45):
        along, aside = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
        u, v = (x - 40) * along + (y - 31) * aside, -(x - 40) * aside + (y - 31) * along
        mask = np.zeros((60, 80), bool)
        mask[ellipse(np.array([40.0, 31]), np.array([25.3, 10.1]), degrees, "here")((60, 80))] = True
        assert np.array_equal(mask, (u / 25.3) ** 2 + (v / 10.1) ** 2 < 1)
