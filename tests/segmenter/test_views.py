"""Images seen at several sizes and mirrored: means of softmaxes, written out view by view."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from densefield.checks import InputError
from densefield.classes import ClassList
from densefield.refine import DenseCRF
from densefield.segmenter import Segmenter
from densefield.segmenter.views import Views

CLASSES = ClassList(("a", "b", "c"), ((0, 0, 0), (1, 1, 1), (2, 2, 2)))


class Lopsided(nn.Module):
    """A 3×3 convolution, whose left is not its right; a score sees one pixel around it."""

    in_channels, num_classes, margin, stride, reach = 3, 3, 0, 1, 1

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, image: Tensor) -> Tensor:
        return 5 * self.layer(image)


def segmenter(views: Views, refinement: nn.Module | None = None) -> Segmenter:
    made = Segmenter(Lopsided().double(), CLASSES, mean=(0.0,) * 3, std=(1.0,) * 3, refinement=refinement)
    made.views = views
    return made.eval()


def resized(values: NDArray[np.float64], height: int, width: int) -> NDArray[np.float64]:
    """Bilinear, corners not aligned, of (C, H, W): along one axis, then the other."""
    for axis, length in ((1, height), (2, width)):
        side = values.shape[axis]
        place = np.clip((np.arange(length) + 0.5) * side / length - 0.5, 0, side - 1)
        low = np.floor(place).astype(int)
        share = (place - low)[:, None] if axis == 1 else place - low
        high = np.minimum(low + 1, side - 1)
        values = values.take(low, axis) * (1 - share) + values.take(high, axis) * share
    return values


def by_hand(network: nn.Module, photo: Tensor, views: Views) -> NDArray[np.float64]:
    """The mean probabilities (K, H, W)."""
    height, width = photo.shape[1:]
    seen = []
    for scale in views.scales:
        image = resized(photo.numpy(), round(scale * height), round(scale * width))
        for step in (1, -1) if views.flip else (1,):
            with torch.no_grad():
                scores = network(torch.tensor(image[:, :, ::step].copy())[None])[0].numpy()[:, :, ::step]
            chances = np.exp(resized(scores, height, width))
            seen.append(chances / chances.sum(0))
    return np.mean(seen, axis=0)


@pytest.mark.parametrize(
    "views", [Views((1.0,), True), Views((0.75, 1.0, 1.25)), Views((0.5,)), Views((2.0, 0.6), True)]
)
def test_scores_are_the_logarithm_of_the_mean_of_softmaxes(views: Views) -> None:
    photo, made = torch.rand(3, 21, 30, dtype=torch.float64), segmenter(views)
    found = made.scores(photo)
    torch.testing.assert_close(found.exp(), torch.tensor(by_hand(made.network, photo, views)), rtol=1e-9, atol=1e-12)
    assert torch.equal(made(photo), found.argmax(0))
    batch = torch.stack([photo, photo.flip(1)])
    torch.testing.assert_close(made.scores(batch)[0], found)


def test_eight_bit_pixels_are_seen_as_others() -> None:
    made = segmenter(Views((0.7, 1.0), True))
    photo = torch.randint(0, 256, (14, 19, 3), dtype=torch.uint8)
    whole = made.scores(photo.permute(2, 0, 1).double() / 255)
    torch.testing.assert_close(made.scores(photo.numpy()), whole, rtol=0, atol=1e-5)  # resized in float32


@pytest.mark.parametrize("tile", [6, 11])
def test_each_view_is_segmented_in_tiles_that_change_nothing(tile: int) -> None:
    photo, made = torch.rand(3, 23, 31, dtype=torch.float64), segmenter(Views((0.75, 1.25), True))
    whole = made.scores(photo)
    made.tile, made.overlap = tile, 1
    torch.testing.assert_close(made.scores(photo), whole)
    (only,) = made.score_tiles(photo)
    assert only[:2] == (0, 0)
    assert only[2].shape == (1, 3, 23, 31)


def test_a_refinement_runs_on_the_mean() -> None:
    crf = DenseCRF(3, iterations=2)
    photo, made = torch.rand(3, 17, 22), segmenter(Views((0.5, 1.0), True), crf).float()
    mean = made.network_scores(photo)
    torch.testing.assert_close(made.scores(photo), made.refine(mean, photo))
    made.refinement = None
    torch.testing.assert_close(made.scores(photo), mean)


def test_a_single_view_changes_no_bit() -> None:
    photo, made = torch.rand(3, 17, 22, dtype=torch.float64), segmenter(Views())
    with torch.no_grad():
        assert torch.equal(made.scores(photo), made.network(photo[None])[0])


@pytest.mark.parametrize("words", ["", "0.75,,1", "one", "0,1", "1,30", "nan", "-1", "0.75;1"])
def test_what_is_no_scale_is_one_line(words: str) -> None:
    with pytest.raises(InputError, match=r"--scales: wanted numbers from 0\.05 to 20, such as 0\.75,1,1\.25; received"):
        Views.of_words(words, False)


def test_flags_are_read_and_a_scale_stands_once() -> None:
    assert Views.of_words(None, False) == Views()
    assert Views.of_words("0.75, 1,1.25", True) == Views((0.75, 1.0, 1.25), True)
    with pytest.raises(InputError, match=r"--scales: wanted each number once, received '1,1\.0'"):
        Views.of_words("1,1.0", False)
