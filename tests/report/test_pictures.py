"""Pictures read back from the page with Pillow."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from densefield.report.pictures import fitted_image, fitted_labels, picture_element


def read_back(element):
    data = re.search(r'base64,([^"]+)"', element).group(1)
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))


def test_flat_pictures_come_back_exactly_and_photographs_nearly():
    rng = np.random.default_rng(0)
    flat = np.array([(255, 255, 255), (214, 39, 40), (200, 200, 200)], np.uint8)[rng.integers(0, 3, (20, 30))]
    np.testing.assert_array_equal(read_back(picture_element(flat, "errors", photograph=False)), flat)
    smooth = np.repeat(np.linspace(0, 255, 60).astype(np.uint8)[None, :, None], 40, 0).repeat(3, 2)
    assert np.abs(read_back(picture_element(smooth, "a photograph")).astype(int) - smooth).max() <= 6


def test_description_is_escaped():
    element = picture_element(np.zeros((2, 3, 3), np.uint8), '"><script>')
    assert "<script>" not in element
    assert 'width="3" height="2"' in element


@pytest.mark.parametrize("size", [(1000, 500), (333, 2000), (640, 640), (1, 5000), (96, 70), (320, 3), (500, 321)])
def test_fitted_labels_fit_the_image_and_are_never_mixed(size):
    labels = np.where(np.arange(size[1]) < size[1] / 2, 3, 200).astype(np.uint8) * np.ones(size, np.uint8)
    image = np.repeat(labels[..., None], 3, 2)
    fitted, fitted_photograph = fitted_labels(labels), fitted_image(image)
    assert fitted.shape == fitted_photograph.shape[:2]
    assert max(fitted.shape) <= 640
    assert max(fitted.shape) > 160
    assert set(np.unique(fitted)) <= {3, 200}
    # Both show the edge in the middle.
    assert np.abs(fitted.astype(int) - fitted_photograph[..., 0]).mean() < 3


def test_small_pictures_are_enlarged_by_whole_pixels():
    labels = np.random.default_rng(0).integers(0, 5, (40, 90), dtype=np.uint8)
    np.testing.assert_array_equal(fitted_labels(labels), labels.repeat(3, 0).repeat(3, 1))
    image = np.random.default_rng(0).integers(0, 255, (40, 90, 3), dtype=np.uint8)
    np.testing.assert_array_equal(fitted_image(image), image.repeat(3, 0).repeat(3, 1))
