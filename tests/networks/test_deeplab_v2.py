from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from densefield.checks import InputError
from densefield.networks import ResNet, deeplab_aspp_vgg16, deeplab_resnet101
from densefield.networks.deeplab_v2 import DeepLabResNet
from densefield.segmenter.description import build_network, network_words
from drawing import seeded
from geometry import assert_tiles_equal_the_whole, between, positive, seen_by_maxima

RATES = (1, 3)
RESNET_101, VGG_16 = 42_500_160, 14_714_688


def resnet50(num_classes: int, *, width: int, **options: Any) -> DeepLabResNet:
    """The same head on fewer blocks."""
    return DeepLabResNet(num_classes, ResNet(50, "caffe", width=width), **options)


EACH: list[Callable[..., nn.Module]] = [deeplab_aspp_vgg16, resnet50]


@pytest.mark.parametrize(
    ("builder", "rates", "count", "by_hand"),
    [
        (
            deeplab_aspp_vgg16,
            (6, 12, 18, 24),
            37_877_652,
            VGG_16 + 4 * ((512 * 9 + 1) * 1024 + 1025 * 1024 + 1025 * 21),
        ),
        (deeplab_resnet101, (12,), 42_887_253, RESNET_101 + (2048 * 9 + 1) * 21),
        (deeplab_resnet101, (2, 4, 8, 12), 44_048_532, RESNET_101 + 4 * (2048 * 9 + 1) * 21),
        (deeplab_resnet101, (6, 12, 18, 24), 44_048_532, RESNET_101 + 4 * (2048 * 9 + 1) * 21),
    ],
)
def test_parameters_are_the_published_definitions(
    builder: Callable[..., nn.Module], rates: tuple[int, ...], count: int, by_hand: int
) -> None:
    with torch.device("meta"):
        network = builder(21, rates=rates)
    assert sum(p.numel() for p in network.parameters()) == by_hand == count


def restated_heads(network: nn.Module, image: Tensor) -> Tensor:
    """Scores at stride 8; the trunks are restated in their own tests."""
    weights = network.state_dict()

    def convolved(name: str, x: Tensor, rate: int = 1) -> Tensor:
        weight = weights[f"{name}.weight"]
        return functional.conv2d(x, weight, weights[f"{name}.bias"], 1, weight.shape[2] // 2 * rate, rate)

    features = network.trunk(image)
    if isinstance(network, DeepLabResNet):
        return sum(convolved(f"fc1_c{branch}", features, rate) for branch, rate in enumerate(RATES))
    features = functional.max_pool2d(features, 3, 1, 1)
    total = torch.zeros(())
    for branch, rate in enumerate(RATES, start=1):
        fc6 = functional.relu(convolved(f"fc6_{branch}.0", features, rate))
        fc7 = functional.relu(convolved(f"fc7_{branch}.0", fc6))
        total = total + convolved(f"fc8_{branch}", fc7)
    return total


@pytest.mark.parametrize("builder", EACH)
@pytest.mark.parametrize("size", [(1, 1), (33, 47), (64, 96)])
def test_scores_are_those_of_a_plain_restatement(builder: Callable[..., nn.Module], size: tuple[int, int]) -> None:
    torch.manual_seed(seeded())
    network = builder(3, width=4, rates=RATES).eval().double()
    image = torch.rand(2, 3, *size, dtype=torch.float64)
    whole = image
    if builder is resnet50:  # its features end before the image unless sides are 8 q + 1
        whole = functional.pad(image, (0, (1 - size[1]) % 8, 0, (1 - size[0]) % 8))
    with torch.no_grad():
        wanted = between(restated_heads(network, whole), *(np.arange(length) / 8 for length in size))
        torch.testing.assert_close(network(image), wanted, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("size", [(1, 1), (33, 47), (64, 96)])
def test_scores_at_the_published_scales_are_those_of_a_plain_restatement(size: tuple[int, int]) -> None:
    torch.manual_seed(seeded())
    network = resnet50(3, width=2, rates=RATES, scales=(0.5, 0.75, 1.0)).eval().double()
    image = torch.rand(1, 3, *size, dtype=torch.float64)
    sides = [32 * -(-(length - 1) // 32) + 1 for length in size]
    whole = functional.pad(image, (0, sides[1] - size[1], 0, sides[0] - size[0]))
    each = []
    with torch.no_grad():
        for scale in (1.0, 0.75, 0.5):
            smaller = [round((side - 1) * scale) + 1 for side in sides]
            resized = between(whole, *(np.linspace(0, side - 1, n) for side, n in zip(sides, smaller, strict=True)))
            each.append(restated_heads(network, resized))
        at_stride_8 = [each[0]] + [
            between(
                scores, *(np.linspace(0, n - 1, m) for n, m in zip(scores.shape[2:], each[0].shape[2:], strict=True))
            )
            for scores in each[1:]
        ]
        found = network.all_scores(image)
    largest = torch.stack(at_stride_8).amax(0)
    fused = between(largest, *(np.arange(length) / 8 for length in size))
    for scores, wanted in zip(found, (fused, *at_stride_8[:2], each[2]), strict=True):
        wanted = wanted[:, :, : scores.shape[2], : scores.shape[3]]
        torch.testing.assert_close(scores, wanted, rtol=1e-10, atol=1e-10)
    assert [scores.shape[2] for scores in found] == [size[0]] + [-(-size[0] // stride) for stride in (8, 8, 16)]


def test_without_aligned_corners_a_sole_scale_is_spread_over_the_image() -> None:
    """kazuto1011/deeplab-pytorch: nothing is padded, and `interpolate` takes the scores to the image's size."""
    torch.manual_seed(seeded())
    network = resnet50(3, width=2, rates=RATES, align_corners=False).eval().double()
    image = torch.rand(1, 3, 37, 52, dtype=torch.float64)
    with torch.no_grad():
        wanted = functional.interpolate(restated_heads(network, image), size=(37, 52), mode="bilinear")
        torch.testing.assert_close(network(image), wanted, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("builder", EACH)
def test_reach_is_how_far_a_score_sees(builder: Callable[..., nn.Module]) -> None:
    torch.manual_seed(seeded())
    network = positive(builder(2, width=1, rates=RATES))
    assert network.reach - 2 <= seen_by_maxima(network, 2 * network.reach + 41) <= network.reach


def test_reach_of_the_published_network() -> None:
    with torch.device("meta"):
        assert deeplab_resnet101(21).reach == 3 + 2 + 3 * 4 + 4 * 8 + 23 * 2 * 8 + 3 * 4 * 8 + 24 * 8 + 8
        assert deeplab_aspp_vgg16(21).reach == 225 - 8 + 12 * 8


@pytest.mark.parametrize("builder", EACH)
@pytest.mark.parametrize("scales", [(1.0,), (0.5, 0.75, 1.0)])
def test_tiles_equal_the_whole_image(builder: Callable[..., nn.Module], scales: tuple[float, ...]) -> None:
    torch.manual_seed(seeded())
    network = builder(2, width=2, rates=RATES, scales=scales).eval().double()
    tile = 2 * (network.reach + 31) + 96
    assert_tiles_equal_the_whole(network, torch.rand(3, tile + 130, 5, dtype=torch.float64), tile)


def test_a_network_is_built_again_from_its_words() -> None:
    network = deeplab_resnet101(3, width=1, rates=(2, 4), scales=(0.5, 1.0))
    words = network_words(network)
    again = build_network(words.pop("kind"), words)
    assert [p.shape for p in again.parameters()] == [p.shape for p in network.parameters()]
    assert again(torch.rand(1, 3, 9, 9)).shape == (1, 3, 9, 9)


def test_wrong_arguments_are_explained() -> None:
    for builder in (deeplab_aspp_vgg16, deeplab_resnet101):
        with pytest.raises(InputError, match=r"rates: wanted a list of numbers of at least 1, received \(\)"):
            builder(2, width=1, rates=())
        with pytest.raises(InputError, match=r"rates: wanted a list of numbers of at least 1, received 12"):
            builder(2, width=1, rates=12)
        with pytest.raises(InputError, match="num_classes: wanted at least 1, received 0"):
            builder(0, width=1)
        with pytest.raises(InputError, match="image"):
            builder(2, width=1)(torch.zeros(1, 4, 8, 8))
