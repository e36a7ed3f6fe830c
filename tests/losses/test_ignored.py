"""Pixels that do not count are emptied where they would do harm, and scores are not copied otherwise."""

from __future__ import annotations

import pytest
import torch

from densefield.losses.ignored import harmless

COUNTED = torch.tensor([[[True, False], [True, True]]])


def test_finite_scores_are_given_back_as_they_are():
    scores = torch.randn(1, 3, 2, 2, requires_grad=True)
    assert harmless(scores, COUNTED) is scores


@pytest.mark.parametrize("held", [float("nan"), float("inf"), float("-inf"), 3e38])  # three of the last overflow a sum
def test_what_is_left_is_finite_and_where_pixels_count_unchanged(held):
    scores = torch.randn(1, 3, 2, 2)
    scores[..., 0, 1] = held
    found = harmless(scores, COUNTED)
    assert (found[..., 0, 1] == 0).all()
    assert torch.equal(found[..., 1, :], scores[..., 1, :])
