"""Pictures of embeddings held against scikit-learn's PCA and masks computed pixel by pixel."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from densefield import draw
from densefield.checks import InputError
from densefield.ops.local_filter import affinity_filter
from densefield.refine import joint_bilateral_filter
from drawing import seeded


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(seeded())


def test_colors_are_the_main_directions(rng: np.random.Generator) -> None:
    mixing = rng.normal(size=(7, 3)) * (5, 2, 1)
    embeddings = np.einsum("dc,chw->dhw", mixing, rng.uniform(-1, 1, (3, 20, 30))) + 3
    drawn = draw.draw_embeddings(embeddings)
    assert drawn.shape == (20, 30, 3)
    assert drawn.dtype == np.uint8
    places = PCA(3).fit_transform(embeddings.reshape(7, -1).T).reshape(20, 30, 3)
    for channel in range(3):
        correlation = np.corrcoef(drawn[..., channel].ravel(), places[..., channel].ravel())[0, 1]
        assert abs(correlation) > 0.999
        assert (drawn[..., channel].min(), drawn[..., channel].max()) == (0, 255)


def test_the_same_picture_every_time_and_from_a_tensor(rng: np.random.Generator) -> None:
    embeddings = rng.normal(size=(5, 9, 8)).astype(np.float32)
    drawn = draw.draw_embeddings(embeddings)
    np.testing.assert_array_equal(draw.draw_embeddings(torch.from_numpy(embeddings).requires_grad_()), drawn)
    half = torch.from_numpy(embeddings).bfloat16()
    np.testing.assert_array_equal(draw.draw_embeddings(half), draw.draw_embeddings(half.float()))
    # The sign of a direction is its own: it does not turn round when the image is mirrored.
    mirrored = draw.draw_embeddings(embeddings[:, ::-1, ::-1])[::-1, ::-1]
    assert np.abs(mirrored.astype(int) - drawn.astype(int)).max() <= 1


def test_directions_of_a_large_image_are_found_from_some_of_its_pixels(rng: np.random.Generator) -> None:
    low = rng.normal(size=(3, 20, 30)) * np.array([5, 2, 1])[:, None, None]
    embeddings = low.repeat(23, axis=1).repeat(23, axis=2)
    drawn = draw.draw_embeddings(embeddings.astype(np.float32))
    places = PCA(3).fit_transform(embeddings.reshape(3, -1).T).reshape(460, 690, 3)
    for channel in range(3):
        correlation = np.corrcoef(drawn[..., channel].ravel(), places[..., channel].ravel())[0, 1]
        assert abs(correlation) > 0.99


def test_one_far_pixel_does_not_grey_out_the_rest(rng: np.random.Generator) -> None:
    embeddings = np.zeros((4, 20, 20))
    embeddings[0] = np.linspace(-1, 1, 20)
    embeddings[0, 0, 0] = 1000
    drawn = draw.draw_embeddings(embeddings)[1:, :, 0].astype(int)
    assert np.ptp(drawn) > 200


@pytest.mark.parametrize(("shape", "known"), [((1, 4, 5), 1), ((2, 4, 5), 2), ((64, 4, 5), 3), ((3, 1, 1), 0)])
def test_directions_that_are_not_there_are_grey(shape: tuple[int, int, int], known: int) -> None:
    drawn = draw.draw_embeddings(np.random.default_rng(seeded()).normal(size=shape))
    assert [bool(np.ptp(drawn[..., channel])) for channel in range(3)] == [channel < known for channel in range(3)]
    assert (draw.draw_embeddings(np.full(shape, 0.1)) == 128).all()


PLACES = [(6, 7), (0, 0), (11, 14), (0, 9), (5, 14)]


def panels(sheet: draw.Picture, window: int) -> list[draw.Picture]:
    """The four windows again, a pixel each; taken beside a cell's middle frame."""
    cell = 216 // window
    gap, side = 8, cell * window
    top = sheet.shape[0] - gap - side
    starts = [gap + number * (side + gap) for number in range(4)]
    return [sheet[top : top + side, left : left + side][cell // 2 :: cell, cell // 2 :: cell] for left in starts]


@pytest.mark.parametrize(("row", "column"), PLACES)
@pytest.mark.parametrize(("window", "rate"), [(5, 1), (9, 1), (3, 4)])
def test_the_four_panels_pixel_by_pixel(
    rng: np.random.Generator, row: int, column: int, window: int, rate: int
) -> None:
    image = rng.integers(0, 256, (12, 15, 3), dtype=np.uint8)
    embeddings = rng.normal(size=(4, 12, 15)) / 4
    sheet = draw.draw_affinity(image, embeddings, row, column, window=window, rate=rate, scale=0.7, sigma_range=0.3)
    patch, colored, learned, photometric = panels(sheet, window)
    everywhere = draw.draw_embeddings(embeddings)
    for i, j in np.ndindex(window, window):
        y, x = row + rate * (i - window // 2), column + rate * (j - window // 2)
        if not (0 <= y < 12 and 0 <= x < 15):
            assert all(tuple(panel[i, j]) == draw.UNCOUNTED for panel in (patch, colored, learned, photometric))
            continue
        assert tuple(patch[i, j]) == tuple(image[y, x])
        assert tuple(colored[i, j]) == tuple(everywhere[y, x])
        mask = math.exp(-0.7 * sum(abs(embeddings[d, y, x] - embeddings[d, row, column]) for d in range(4)))
        assert tuple(learned[i, j]) == tuple(draw.score_map([[mask]], low=0, high=1)[0, 0])
        apart = sum(((int(image[y, x, c]) - int(image[row, column, c])) / 255) ** 2 for c in range(3))
        mask = math.exp(-apart / (2 * 0.3**2))
        assert tuple(photometric[i, j]) == tuple(draw.score_map([[mask]], low=0, high=1)[0, 0])


@pytest.mark.parametrize("distance", ["l1", "l2", "dot"])
def test_the_masks_are_those_that_filters_use(rng: np.random.Generator, distance: str) -> None:
    """Filtering an impulse at each place tells its mask: out_i of an impulse at j is m_ij / sum of masks."""
    image = rng.integers(0, 256, (5, 5, 3), dtype=np.uint8)
    embeddings = rng.normal(size=(3, 5, 5)) / 3
    scale = torch.tensor(0.6, requires_grad=True)  # as a filter that learns has it
    sheet = draw.draw_affinity(image, embeddings, 2, 2, window=5, scale=scale, distance=distance, sigma_range=0.4)
    impulses = torch.eye(25, dtype=torch.float64).reshape(1, 25, 5, 5)
    there = torch.from_numpy(embeddings)[None]
    learned = affinity_filter(impulses, there, 0.6, window=5, distance=distance)[0, :, 2, 2].reshape(5, 5)
    colors = torch.from_numpy(image / 255.0).permute(2, 0, 1)[None]
    # The widest sigma in space leaves the colors' part alone.
    photometric = joint_bilateral_filter(impulses, colors, sigma_space=1e9, sigma_range=0.4, window=5)
    for panel, shares in zip(panels(sheet, 5)[2:], (learned, photometric[0, :, 2, 2].reshape(5, 5)), strict=True):
        centre = (
            math.exp(0.6 * float((embeddings[:, 2, 2] ** 2).sum())) if distance == "dot" and shares is learned else 1
        )
        wanted = draw.score_map((shares / shares[2, 2] * centre).numpy(), low=0, high=1)
        assert np.abs(panel.astype(int) - wanted.astype(int)).max() <= 1


def test_the_pixel_is_framed_to_be_seen_on_any_color() -> None:
    for value in (0, 255):
        image = np.full((9, 9, 3), value, np.uint8)
        sheet = draw.draw_affinity(image, np.zeros((2, 9, 9)), 4, 4)
        patch = sheet[-8 - 216 : -8, 8 : 8 + 216]
        inside = patch[4 * 24 : 5 * 24, 4 * 24 : 5 * 24]
        assert (inside[0] == 255).all()
        assert (inside[1, 1:-1] == 0).all()
        assert (inside[2:-2, 2:-2] == value).all()
        outside = patch.copy()
        outside[4 * 24 : 5 * 24, 4 * 24 : 5 * 24] = value
        assert (outside == value).all()
        assert sheet[: -8 - 216].min() < 100  # captions


IMAGE, EMBEDDINGS = np.zeros((4, 6, 3), np.uint8), np.zeros((2, 4, 6))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: draw.draw_embeddings(np.zeros((2, 3, 4, 5))), r"embeddings: wanted shape \(D, H, W\).*\(2, 3, 4, 5\)"),
        (lambda: draw.draw_embeddings(np.full((1, 2, 2), np.nan)), "embeddings: holds NaN or Inf"),
        (
            lambda: draw.draw_affinity(IMAGE, EMBEDDINGS[:, 1:], 0, 0),
            r"embeddings: .*\(D, 4, 6\), received \(2, 3, 6\)",
        ),
        (lambda: draw.draw_affinity(IMAGE / 2, EMBEDDINGS, 0, 0), "image: wanted uint8"),
        (lambda: draw.draw_affinity(IMAGE, EMBEDDINGS, 4, 0), "row: wanted 0 to 3, received 4"),
        (lambda: draw.draw_affinity(IMAGE, EMBEDDINGS, 0, -1), "column: wanted 0 to 5, received -1"),
        (lambda: draw.draw_affinity(IMAGE, EMBEDDINGS, 0, 0, window=4), "window: wanted an odd number"),
        (lambda: draw.draw_affinity(IMAGE, EMBEDDINGS, 0, 0, rate=0), "rate: wanted at least 1"),
        (lambda: draw.draw_affinity(IMAGE, EMBEDDINGS, 0, 0, sigma_range=0), "sigma_range: wanted a positive"),
        (lambda: draw.draw_affinity(IMAGE, EMBEDDINGS, 0, 0, distance="l3"), "distance: wanted l1, l2 or dot"),
    ],
)
def test_bad_input(call: Callable[[], object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()
