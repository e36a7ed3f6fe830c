from __future__ import annotations

import warnings

import pytest
import torch

from densefield.refine.misuse import looks_like_energies, looks_like_probabilities, warn_of_wrong_scores
from drawing import seeded

SCORES = 3 * torch.randn(2, 4, 5, 6, generator=torch.Generator().manual_seed(seeded()))


def test_probabilities_and_energies_are_told_from_scores() -> None:
    assert looks_like_probabilities(SCORES.softmax(1))
    assert looks_like_energies(-SCORES.log_softmax(1))
    for right in (SCORES, SCORES.log_softmax(1), SCORES.abs(), SCORES.sigmoid(), torch.zeros(1, 4, 5, 6)):
        assert not looks_like_probabilities(right)
        assert not looks_like_energies(right)


def test_one_label_tells_nothing() -> None:
    assert not looks_like_probabilities(torch.ones(1, 1, 5, 6))
    assert not looks_like_energies(torch.zeros(1, 1, 5, 6))


def test_the_warning_says_what_was_given_and_what_is_wanted() -> None:
    with pytest.warns(UserWarning, match="look like probabilities"):
        warn_of_wrong_scores(SCORES.softmax(1))
    with pytest.warns(UserWarning, match=r"look like energies -log\(p\)"):
        warn_of_wrong_scores(-SCORES.log_softmax(1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_of_wrong_scores(SCORES)
