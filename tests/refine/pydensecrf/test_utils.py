from __future__ import annotations

import math

import numpy as np
import pytest

from densefield.checks import InputError
from densefield.refine.pydensecrf import utils


def test_labels_become_energies_of_their_certainty() -> None:
    certain = utils.unary_from_labels(np.array([[0, 1], [1, 0]]), 3, gt_prob=0.7, zero_unsure=False)
    assert certain.dtype == np.float32
    np.testing.assert_allclose(
        np.exp(-certain), [[0.7, 0.15, 0.15, 0.7], [0.15, 0.7, 0.7, 0.15], [0.15] * 4], rtol=1e-6
    )


def test_zero_may_mean_unsure() -> None:
    energies = utils.unary_from_labels(np.array([0, 1, 3]), 3, gt_prob=0.5)
    np.testing.assert_allclose(
        np.exp(-energies), [[1 / 3, 0.5, 0.25], [1 / 3, 0.25, 0.25], [1 / 3, 0.25, 0.5]], rtol=1e-6
    )


def test_labels_are_checked() -> None:
    with pytest.raises(InputError, match="labels: wanted 0 to 2, received 0 to 3"):
        utils.unary_from_labels(np.array([0, 3]), 2, 0.5)
    with pytest.raises(InputError, match="labels: wanted whole numbers"):
        utils.unary_from_labels(np.array([0.5]), 2, 0.5)
    with pytest.raises(InputError, match="gt_prob"):
        utils.unary_from_labels(np.array([0]), 2, 1.0)


def test_probabilities_become_clipped_energies() -> None:
    given = np.array([[[1.0, 0.25]], [[0.0, 0.75]]])
    energies = utils.unary_from_softmax(given)
    assert energies.shape == (2, 2)
    assert energies.dtype == np.float32
    np.testing.assert_allclose(
        energies, [[0, -math.log(0.25)], [-math.log(1e-5), -math.log(0.75)]], rtol=1e-5, atol=1e-7
    )
    scaled = utils.unary_from_softmax(given, scale=0.5)
    np.testing.assert_allclose(np.exp(-scaled), [[0.75, 0.375], [0.25, 0.625]], rtol=1e-5)
    with pytest.raises(InputError, match="scale"):
        utils.unary_from_softmax(given, scale=2.0)


def test_scores_in_place_of_probabilities_are_warned_of() -> None:
    for given in (np.array([[-2.0, 0.5], [0.5, 0.5]]), np.array([[0.5, 3.0], [0.5, 0.5]])):
        with pytest.warns(UserWarning, match="sm: holds .* wanted probabilities, after softmax"):
            utils.unary_from_softmax(given)


def test_deprecated_names_say_so() -> None:
    with pytest.warns(DeprecationWarning, match="unary_from_labels"):
        energies = utils.compute_unary(np.array([0, 1]), 2)
    np.testing.assert_array_equal(energies, utils.unary_from_labels(np.array([0, 1]), 2, 0.5))
    with pytest.warns(DeprecationWarning, match="unary_from_softmax"):
        utils.softmax_to_unary(np.array([[0.5], [0.5]]))


def test_positions_go_row_by_row_in_widths() -> None:
    features = utils.create_pairwise_gaussian(sdims=(2, 4), shape=(2, 3))
    assert features.dtype == np.float32
    np.testing.assert_allclose(features, [[0, 0, 0, 0.5, 0.5, 0.5], [0, 0.25, 0.5, 0, 0.25, 0.5]])


@pytest.mark.parametrize("chdim", [0, 2])
def test_channels_come_after_positions(chdim: int) -> None:
    image = np.arange(12, dtype=np.uint8).reshape(2, 3, 2)
    given = np.moveaxis(image, 2, chdim)
    features = utils.create_pairwise_bilateral(sdims=(1, 1), schan=(2, 4), img=given, chdim=chdim)
    assert features.shape == (4, 6)
    np.testing.assert_allclose(features[2], np.arange(0, 12, 2) / 2)
    np.testing.assert_allclose(features[3], np.arange(1, 12, 2) / 4)


def test_images_without_channels_and_volumes_serve() -> None:
    features = utils.create_pairwise_bilateral(sdims=(1, 2, 3), schan=5, img=np.full((2, 3, 4), 10.0))
    assert features.shape == (4, 24)
    np.testing.assert_allclose(features[:, -1], [1, 1, 1, 2])


def test_widths_are_checked() -> None:
    with pytest.raises(InputError, match="sdims: wanted positive"):
        utils.create_pairwise_gaussian((0, 1), (2, 3))
    with pytest.raises(InputError, match="sdims: wanted 2 widths"):
        utils.create_pairwise_gaussian((1,), (2, 3))
    with pytest.raises(InputError, match="schan: wanted 3 widths to fit 3 channels, or one number"):
        utils.create_pairwise_bilateral((1, 1), (1, 2), np.zeros((2, 3, 3)), chdim=2)
