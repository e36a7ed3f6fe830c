from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from densefield.checks import InputError
from densefield.networks import hypercolumns, receptive_field
from densefield.networks.receptive_field import sight
from geometry import assert_tiles_equal_the_whole, awake, farthest_seen, open_to_gradients


def test_parameters_of_a_classifier_on_alexnet() -> None:
    with torch.device("meta"):
        network = hypercolumns(21)
    assert network.classifier.in_channels == 256 + 384 + 4096 == 4736
    alexnet = 60_965_224 - (4096 + 1) * 1000
    assert sum(p.numel() for p in network.parameters()) == alexnet + (4736 + 1) * 21 == 56_967_701


def interpolation(pixels: int, features: int, first: int, stride: int) -> Tensor:
    """(pixels, features): how much each feature, `first` + `stride`·i its pixel, counts at each pixel."""
    places = first + stride * torch.arange(features, dtype=torch.float64)
    return (1 - (torch.arange(pixels)[:, None] - places).abs() / stride).clamp(min=0)


@pytest.mark.parametrize("size", [(1, 1), (2, 34), (33, 47), (64, 96)])
def test_scores_are_a_linear_classifier_of_whole_columns(size: tuple[int, int]) -> None:
    network = hypercolumns(3, width=1).double().eval()
    image = 100 * torch.rand(2, 3, *size, dtype=torch.float64)
    layers = dict(network.trunk.layers(functional.pad(image, (113, 144, 113, 144))))
    columns = []
    for name, first, stride in (("pool2", 17 - 113, 16), ("conv4", 17 - 113, 16), ("fc7", 113 - 113, 32)):
        features = layers[name]
        down, right = (interpolation(size[axis], features.shape[2 + axis], first, stride) for axis in (0, 1))
        torch.testing.assert_close(down.sum(1), torch.ones(size[0], dtype=torch.float64))  # no pixel is beyond the last
        columns.append(down @ features @ right.T)
    wanted = functional.conv2d(torch.cat(columns, dim=1), network.classifier.weight, network.classifier.bias)
    assert wanted.shape == (2, 3, *size)
    torch.testing.assert_close(network(image), wanted, rtol=0, atol=1e-10)


def test_a_column_sees_what_fc7_sees_around_its_own_pixel() -> None:
    network = hypercolumns(2, width=1)
    assert receptive_field(network) == 355
    assert (sight(network).spacing, sight(network).center) == (1, 0)


def test_reach_is_what_scores_see_to_both_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    network = open_to_gradients(hypercolumns(2, width=1), monkeypatch)
    assert farthest_seen(network) == (network.reach, network.reach)


def test_tiles_give_the_whole_images_scores() -> None:
    assert_tiles_equal_the_whole(awake(hypercolumns(3, width=1)), torch.rand(3, 645, 20, dtype=torch.float64), 544)


def test_wrong_arguments_are_explained() -> None:
    with pytest.raises(InputError, match="num_classes: wanted at least 1, received 0"):
        hypercolumns(0, width=1)
    with pytest.raises(InputError, match=r"image: wanted shape \(B, 3, H, W\)"):
        hypercolumns(2, width=1)(torch.zeros(1, 4, 8, 8))
