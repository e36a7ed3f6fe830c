from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from densefield.checks import InputError
from densefield.data import superpixels
from densefield.losses import embedding_losses
from drawing import seeded


def quarters() -> np.ndarray:
    """Four colors, and a grain that no region may follow."""
    image = np.zeros((48, 64, 3), np.uint8)
    image[:19, :30], image[:19, 30:], image[19:, :30], image[19:, 30:] = (200, 30, 30), (30, 200, 30), 40, 220
    return (image + np.random.default_rng(seeded()).integers(0, 10, image.shape)).astype(np.uint8)


def test_no_region_crosses_an_edge() -> None:
    regions = superpixels(quarters(), count=48)
    assert regions.dtype == np.int64
    assert 24 <= len(np.unique(regions)) <= 96
    for number in np.unique(regions):
        rows, columns = np.nonzero(regions == number)
        assert len(np.unique(rows < 19)) == len(np.unique(columns < 30)) == 1


def test_regions_are_connected_numbered_from_0_and_the_same_every_time() -> None:
    image = quarters()
    regions = superpixels(image, count=30)
    assert set(np.unique(regions)) == set(range(regions.max() + 1))
    assert all(ndimage.label(regions == number)[1] == 1 for number in range(regions.max() + 1))
    np.testing.assert_array_equal(superpixels(image, count=30), regions)


def test_no_region_is_called_not_labelled() -> None:
    regions = superpixels(np.random.default_rng(seeded()).integers(0, 256, (40, 40, 3), dtype=np.uint8), count=10_000)
    numbers = set(np.unique(regions))
    assert len(numbers) > 500
    assert numbers == set(range(max(numbers) + 1)) - {255}


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (3, 2)])
def test_images_of_few_pixels(size: tuple[int, int]) -> None:
    image = np.random.default_rng(seeded()).integers(0, 256, (*size, 3), dtype=np.uint8)
    for count in (1, 2, 200):
        assert superpixels(image, count=count).shape == size


def test_they_are_a_target_of_the_pair_loss() -> None:
    image = quarters()
    target = torch.from_numpy(superpixels(image, count=12))[None]
    colors = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 10
    assert embedding_losses(colors, target) < embedding_losses(colors, target.roll((5, 5), (1, 2)))


@pytest.mark.parametrize(
    ("image", "options", "message"),
    [
        (np.zeros((4, 5), np.uint8), {}, r"image: wanted uint8 of shape \(H, W, 3\), received uint8 of shape \(4, 5\)"),
        (np.zeros((4, 5, 3)), {}, "image: .*received float64"),
        (np.zeros((4, 5, 3), np.uint8), {"count": 0}, "count: wanted at least 1, received 0"),
        (np.zeros((4, 5, 3), np.uint8), {"compactness": 0.0}, "compactness: wanted a positive number"),
    ],
)
def test_bad_input(image: np.ndarray, options: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        superpixels(image, **options)
