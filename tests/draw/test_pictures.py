"""Pictures checked pixel by pixel against loops and by-hand cases."""

from __future__ import annotations

import numpy as np
import pytest

from densefield import draw
from densefield.checks import InputError
from densefield.classes import ClassList
from drawing import seeded

CLASSES = ClassList(names=("sky", "road", "car"), colors=((10, 20, 30), (200, 100, 0), (0, 0, 255)))


@pytest.fixture
def rng():
    return np.random.default_rng(seeded())


def test_paint_labels_looks_each_pixel_up(rng):
    labels = rng.choice([0, 1, 2, 255], size=(5, 7))
    painted = draw.paint_labels(labels, CLASSES)
    assert painted.dtype == np.uint8
    for i, j in np.ndindex(labels.shape):
        wanted = CLASSES.palette()[255] if labels[i, j] == 255 else CLASSES.colors[labels[i, j]]
        assert tuple(painted[i, j]) == tuple(wanted)


def test_boundaries_by_loop(rng):
    labels = rng.integers(0, 2, (6, 9))
    lines = draw.boundaries(labels)
    for i, j in np.ndindex(labels.shape):
        right = j + 1 < 9 and labels[i, j] != labels[i, j + 1]
        below = i + 1 < 6 and labels[i, j] != labels[i + 1, j]
        assert lines[i, j] == (right or below)


def test_overlay_mixes_colors_and_leaves_ignored_pixels(rng):
    image = rng.integers(0, 256, (4, 6, 3), dtype=np.uint8)
    labels = np.array([[0, 0, 1, 1, 255, 255]] * 4)
    drawn = draw.overlay(image, labels, CLASSES, alpha=0.25, line=None)
    wanted = 0.75 * image[:, :2] + 0.25 * np.array(CLASSES.colors[0])
    assert np.abs(drawn[:, :2] - wanted).max() <= 0.5
    np.testing.assert_array_equal(drawn[:, 4:], image[:, 4:])
    lined = draw.overlay(image, labels, CLASSES, alpha=0.25, line=(1, 2, 3))
    assert (lined[:, [1, 3]] == (1, 2, 3)).all()
    np.testing.assert_array_equal(lined[:, [0, 2, 4, 5]], drawn[:, [0, 2, 4, 5]])


def test_error_map_by_hand():
    drawn = draw.error_map([[0, 1, 2]], [[0, 2, 255]])
    assert [tuple(pixel) for pixel in drawn[0].tolist()] == [draw.RIGHT, draw.WRONG, draw.UNCOUNTED]


def test_score_map_grows_lighter_and_marks_what_is_not_finite():
    drawn = draw.score_map([[*np.linspace(-2, 3, 41), np.nan, np.inf]])
    lightness = drawn[0, :41] @ np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(lightness) > 0).all()
    assert (drawn[0, 41:] == draw.UNCOUNTED).all()
    assert tuple(drawn[0, 0]) == tuple(draw.RAMP[0])
    assert tuple(drawn[0, 40]) == tuple(draw.RAMP[-1])
    # Fixed ends make maps comparable: what lies beyond takes the end's color. A flat map is no error.
    np.testing.assert_array_equal(draw.score_map([[5.0]], low=0, high=1)[0, 0], draw.RAMP[-1])
    assert draw.score_map(np.ones((2, 2))).shape == (2, 2, 3)


def test_side_by_side_keeps_every_pixel(rng):
    pictures = [rng.integers(0, 256, shape, dtype=np.uint8) for shape in ((9, 12, 3), (7, 12, 3), (9, 5, 3))]
    sheet = draw.side_by_side(pictures, columns=2, gap=3)
    assert sheet.shape == (3 + 2 * (9 + 3), 3 + 2 * (12 + 3), 3)
    np.testing.assert_array_equal(sheet[3:12, 3:15], pictures[0])
    np.testing.assert_array_equal(sheet[3:10, 18:30], pictures[1])
    np.testing.assert_array_equal(sheet[15:24, 3:8], pictures[2])
    assert (sheet[:3] == 255).all()


def test_captions_are_drawn_above_and_never_wider_than_their_picture():
    black = np.zeros((40, 60, 3), np.uint8)
    short = draw.side_by_side([black], ["Target"], gap=5)
    long = draw.side_by_side([black], ["a name that is much too long for sixty pixels"], gap=5)
    assert short.shape == long.shape
    assert short.shape[0] > 40 + 2 * 5
    for sheet in (short, long):
        head = sheet[: sheet.shape[0] - 45]
        assert head.min() < 100  # something is written
        assert (head[:, 65:] == 255).all()
        assert (head[:, :5] == 255).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: draw.paint_labels(np.zeros((2, 2, 3), int), CLASSES), r"labels: wanted shape \(H, W\)"),
        (lambda: draw.paint_labels([[0.5]], CLASSES), "wanted an array of class indices"),
        (lambda: draw.paint_labels([[-1]], CLASSES), "wanted values from 0 to 255, received -1 to -1"),
        (lambda: draw.overlay(np.zeros((2, 2)), [[0]], CLASSES), "image: wanted uint8 of shape"),
        (lambda: draw.overlay(np.zeros((2, 2, 3), np.uint8), [[0]], CLASSES), "labels: wanted the image's size"),
        (lambda: draw.overlay(np.zeros((1, 1, 3), np.uint8), [[0]], CLASSES, alpha=2), "alpha: wanted 0 to 1"),
        (lambda: draw.error_map([[0]], [[0, 1]]), "labels: wanted the target's size"),
        (lambda: draw.score_map([1.0]), "values: wanted shape"),
        (lambda: draw.side_by_side([]), "pictures: received none"),
        (lambda: draw.side_by_side([np.zeros((1, 1, 3), np.uint8)], ["a", "b"]), "captions: wanted one for each"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(InputError, match=message):
        call()
