"""Median frequency balancing against a hand-worked case and the weights published with SegNet."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from densefield.checks import InputError
from densefield.losses import class_pixels, median_frequency_weights

# As listed in the softmax layer of the SegNet tutorial's CamVid network; Sky … Bicyclist.
SEGNET_CAMVID = (0.2595, 0.1826, 4.5640, 0.1417, 0.9051, 0.3826, 9.6446, 1.8418, 0.6823, 6.2478, 7.3614)


def test_counts_by_hand():
    first = np.array([[0, 0, 1], [255, 0, 1]])
    second = np.array([[0, 0, 0, 3]])
    pixels, image_pixels = class_pixels([first, second], 4)
    assert pixels.tolist() == [6, 2, 0, 1]
    assert image_pixels.tolist() == [9, 5, 0, 4]


def test_weights_by_hand():
    # Frequencies 6/9, 2/5, none, 1/4: the median is 2/5.
    weights = median_frequency_weights([6, 2, 0, 1], [9, 5, 0, 4])
    torch.testing.assert_close(weights, torch.tensor([0.6, 1.0, 1.0, 1.6]))


def test_near_the_published_camvid_weights(camvid_root):
    names = (camvid_root / "train.txt").read_text().split()
    targets = (np.asarray(Image.open(camvid_root / "trainannot" / f"{name}.png")) for name in names)
    weights = median_frequency_weights(*class_pixels(targets, 11, ignore_index=11))
    # The published list was made from other masks (its Sign cannot come from these); the rest agrees roughly.
    others = np.arange(11) != 6
    np.testing.assert_allclose(weights.numpy()[others], np.array(SEGNET_CAMVID)[others], rtol=0.25)


@pytest.mark.parametrize(
    ("pixels", "image_pixels", "message"),
    [
        ([0, 0], [5, 5], "all are 0"),
        ([6, 0], [5, 5], "wanted 0 to image_pixels_where_present"),
        ([1, 2], [5], "wanted the shape"),
    ],
)
def test_bad_weights_input(pixels, image_pixels, message):
    with pytest.raises(InputError, match=message):
        median_frequency_weights(pixels, image_pixels)


def test_class_outside_is_named():
    with pytest.raises(InputError, match=r"targets\[1\]: holds class 7, wanted 0 to 2"):
        class_pixels([np.zeros((2, 2), int), np.full((2, 2), 7)], 3)
