"""Pictures read back from the page with Pillow."""

from __future__ import annotations

import base64
import io
import re

import numpy as np
import pytest
from PIL import Image

from densefield.report.pictures import picture_element, shrunk_image, shrunk_labels


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


@pytest.mark.parametrize("size", [(100, 50), (33, 200), (64, 64), (1, 500)])
def test_shrunk_labels_fit_the_shrunk_image_and_are_never_mixed(size):
    labels = np.where(np.arange(size[1]) < size[1] / 2, 3, 200).astype(np.uint8) * np.ones(size, np.uint8)
    image = np.repeat(labels[..., None], 3, 2)
    small, small_image = shrunk_labels(labels, 64), shrunk_image(image, 64)
    assert small.shape == small_image.shape[:2]
    assert max(small.shape) == min(64, max(size))
    assert set(np.unique(small)) <= {3, 200}
    # Both show the edge in the middle.
    assert np.abs(small.astype(int) - small_image[..., 0]).mean() < 12
