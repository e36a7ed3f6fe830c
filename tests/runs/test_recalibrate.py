from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from densefield.checks import InputError
from densefield.classes import ClassList
from densefield.runs.recalibrate import recalibrate
from densefield.segmenter import Segmenter

CLASSES = ClassList(("a", "b"), ((0, 0, 0), (255, 0, 0)))


class Pairs:
    def __init__(self) -> None:
        self.images = np.random.default_rng(0).integers(0, 256, (5, 8, 9, 3), dtype=np.uint8)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray, str]:
        return self.images[index], np.zeros((8, 9), np.uint8), ""


def segmenter(*layers: nn.Module) -> Segmenter:
    return Segmenter(nn.Sequential(*layers), CLASSES, mean=(0.5, 0.4, 0.3), std=(0.25, 0.5, 1.0))


def test_statistics_are_the_averages_over_whole_images() -> None:
    norm, pairs = nn.BatchNorm2d(3, momentum=0.3), Pairs()
    one = segmenter(norm, nn.Conv2d(3, 2, 1))
    weights = {name: p.clone() for name, p in one.named_parameters()}
    recalibrate(one, pairs, 3)
    chosen = pairs.images[[0, 2, 4]].astype(np.float64) / 255
    inputs = (chosen - [0.5, 0.4, 0.3]) / [0.25, 0.5, 1.0]
    # Sums of 72 numbers up to 2 in size, of which some 6 sqrt(72) roundings add up: 6e-6, of what may be as good as 0;
    # of a variance the same in proportion.
    np.testing.assert_allclose(norm.running_mean, inputs.mean(axis=(1, 2)).mean(axis=0), rtol=0, atol=1e-5)
    np.testing.assert_allclose(norm.running_var, inputs.var(axis=(1, 2), ddof=1).mean(axis=0), rtol=1e-5)
    assert norm.momentum == 0.3
    assert not any(module.training for module in one.network.modules())
    assert all(torch.equal(p, weights[name]) for name, p in one.named_parameters())


def test_a_network_without_normalisation_has_nothing_to_recalibrate() -> None:
    with pytest.raises(InputError, match="recalibrate: this network has no batch normalisation"):
        recalibrate(segmenter(nn.Conv2d(3, 2, 1)), Pairs(), 3)


def test_more_images_than_there_are_is_an_error() -> None:
    with pytest.raises(InputError, match="at most the 5 training images, received 6"):
        recalibrate(segmenter(nn.BatchNorm2d(3), nn.Conv2d(3, 2, 1)), Pairs(), 6)


def test_statistics_of_a_single_value_are_refused_in_one_line() -> None:
    with pytest.raises(InputError, match="recalibrate: a layer is normalized over a single value a channel; leave "):
        recalibrate(segmenter(nn.AdaptiveAvgPool2d(1), nn.BatchNorm2d(3), nn.Conv2d(3, 2, 1)), Pairs(), 3)
