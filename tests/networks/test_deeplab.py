from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from densefield.checks import InputError
from densefield.networks import deeplab_4x4, deeplab_7x7, deeplab_largefov, deeplab_msc_largefov
from densefield.segmenter.description import build_network, network_words
from drawing import seeded
from geometry import assert_tiles_equal_the_whole, awake, between, positive, seen_by_maxima

Builder = Callable[..., nn.Module]
TRUNK = 14_714_688  # VGG-16 without its fully connected layers
EACH: list[tuple[Builder, dict[str, Any]]] = [
    (deeplab_7x7, {"rate": 2}),
    (deeplab_4x4, {}),
    (deeplab_largefov, {"rate": 3}),
    (deeplab_msc_largefov, {"rate": 3}),
]


@pytest.mark.parametrize(
    ("builder", "rate", "count", "by_hand", "field"),
    [
        (deeplab_7x7, 4, 134_346_581, (512 * 49 + 1) * 4096 + 4097 * 4096 + 4097 * 21, 224),
        (deeplab_4x4, 4, 65_140_565, (512 * 16 + 1) * 4096 + 4097 * 4096 + 4097 * 21, 128),
        (deeplab_4x4, 8, 65_140_565, (512 * 16 + 1) * 4096 + 4097 * 4096 + 4097 * 21, 224),
        (deeplab_largefov, 12, 20_505_429, (512 * 9 + 1) * 1024 + 1025 * 1024 + 1025 * 21, 224),
        (
            deeplab_msc_largefov,
            12,
            21_711_445,
            (512 * 9 + 1) * 1024
            + 1025 * 1024
            + (1024 + 5 * 128 + 1) * 21
            + sum((channels * 9 + 1) * 128 + 129 * 128 for channels in (3, 64, 128, 256, 512)),
            224,
        ),
    ],
)
def test_parameters_and_field_of_view_of_table_2(
    builder: Builder, rate: int, count: int, by_hand: int, field: int
) -> None:
    with torch.device("meta"):
        network = builder(21, rate=rate)
    assert sum(p.numel() for p in network.parameters()) == TRUNK + by_hand == count
    assert network.field_of_view == field


def restated(network: nn.Module, image: Tensor) -> Tensor:
    """The scores by plain functions on the network's weights: the table of the published definitions."""
    weights = network.state_dict()
    coarse = network.trunk.offset > 0  # the 2×2 maxima
    kernel = weights["fc6.0.weight"].shape[2]
    rate = {7: 2, 4: 4, 3: 3}[kernel]

    def convolved(name: str, x: Tensor, rate: int = 1, stride: int = 1) -> Tensor:
        weight, bias = weights[f"{name}.weight"], weights[f"{name}.bias"]
        x = functional.conv2d(x, weight, bias, stride, (weight.shape[2] - 1) * rate // 2, rate)
        return functional.relu(x) if name != "fc8" else x

    height, width = image.shape[2:]
    if coarse:
        image = functional.pad(image, (0, (2 - width) % 8, 0, (2 - height) % 8))
    elif hasattr(network, "image_3x3"):
        image = functional.pad(image, (0, (1 - width) % 8, 0, (1 - height) % 8))
    x, joined = image, [("image", image, 8)]
    for block, convolutions in enumerate((2, 2, 3, 3, 3), start=1):
        for index in range(1, convolutions + 1):
            x = convolved(f"trunk.conv{block}_{index}.convolution", x, 2 if block == 5 else 1)
        stride = 2 if block <= 3 else 1
        if coarse and block < 5:
            x = functional.max_pool2d(x, 2, stride, 1 if stride == 2 else 0, ceil_mode=True)
        else:
            x = functional.max_pool2d(x, 3, stride, 1, ceil_mode=True)
        joined.append((f"pool{block}", x, max(1, 8 // 2**block)))
    if not coarse:
        x = functional.avg_pool2d(x, 3, 1, 1)
    x = convolved("fc7.0", convolved("fc6.0", x, rate))
    if hasattr(network, "image_3x3"):
        seen_too = [
            convolved(f"{name}_1x1.0", convolved(f"{name}_3x3.0", y, stride=step)) for name, y, step in joined[:5]
        ]
        x = torch.cat([x, *seen_too], dim=1)
    x = convolved("fc8", x)
    return between(x, *((np.arange(length) - 0.5 * coarse) / 8 for length in (height, width)))


@pytest.mark.parametrize(("builder", "options"), EACH)
@pytest.mark.parametrize("size", [(1, 1), (33, 47), (64, 96)])
def test_scores_are_those_of_a_plain_restatement(
    builder: Builder, options: dict[str, Any], size: tuple[int, int]
) -> None:
    torch.manual_seed(seeded())
    network = builder(4, width=4, **options).eval().double()
    image = torch.rand(2, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        scores, *more = network.all_scores(image)
        assert not more
        assert torch.equal(scores, network(image))
        torch.testing.assert_close(scores, restated(network, image), rtol=0, atol=1e-10)


@pytest.mark.parametrize(("builder", "options"), EACH)
@pytest.mark.parametrize("size", [(1, 1), (2, 3), (8, 9), (33, 40), (57, 23)])
def test_scores_have_the_image_size(builder: Builder, options: dict[str, Any], size: tuple[int, int]) -> None:
    network = builder(4, width=2, **options).eval()
    assert network(torch.rand(2, 3, *size)).shape == (2, 4, *size)


def test_features_lie_where_the_definition_has_its_labels() -> None:
    """306 pixels give 39 features; the middle of what feature i of the 2×2 maxima sees lies half a pixel behind 8 i."""
    network = deeplab_7x7(2, width=1)
    assert network.trunk(torch.rand(1, 3, 306, 306)).shape[2:] == (39, 39)
    assert network.trunk.offset == 0.5
    assert deeplab_largefov(2, width=1).trunk.offset == 0


@pytest.mark.parametrize(("builder", "options"), EACH)
def test_scores_lie_where_their_pixels_are(builder: Builder, options: dict[str, Any]) -> None:
    """Mirroring the image mirrors the scores, where features lie in the middle of what they see: 8 i or 8 i + ½.

    A mirror maps pixel p to length − 1 − p: 8 i to 8 j for a length of 8 q + 1, 8 i + ½ to 8 j + ½ for 8 q + 2.
    """
    torch.manual_seed(seeded())
    network = builder(3, width=2, **options).eval().double()
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d):
                layer.weight += layer.weight.flip(2)
        image = torch.rand(1, 3, 8 * 20 + (2 if network.trunk.offset else 1), 2, dtype=torch.float64)
        torch.testing.assert_close(network(image.flip(2)), network(image).flip(2), rtol=0, atol=1e-10)


def test_scores_are_linear_between_features() -> None:
    torch.manual_seed(seeded())
    network = deeplab_largefov(3, width=2, rate=2).eval().double()
    image = torch.rand(1, 3, 360, 8, dtype=torch.float64)
    whole = network(image)
    torch.testing.assert_close(whole[:, :, 164], (whole[:, :, 160] + whole[:, :, 168]) / 2)


@pytest.mark.parametrize(("builder", "options"), EACH)
def test_reach_is_how_far_a_score_sees(builder: Builder, options: dict[str, Any]) -> None:
    torch.manual_seed(seeded())
    network = positive(builder(2, width=1, **options))
    # Two columns on either side of its own are the nearest that a 4×4 kernel of rate 4 reads.
    assert network.reach - 1 <= seen_by_maxima(network, 2 * network.reach + 41, 18) <= network.reach


def test_scales_see_further_and_stretched_ones_say_nothing() -> None:
    """`test_scales.py` holds the reach of scales against gradients."""
    assert deeplab_4x4(2, width=1, scales=(0.5, 1.0)).reach == (154 + 8) * 2 + 1 + 8
    assert deeplab_4x4(2, width=1, align_corners=False).reach is None


@pytest.mark.parametrize(("builder", "options"), EACH)
@pytest.mark.parametrize("scales", [(1.0,), (0.5, 0.75, 1.0)])
def test_tiles_equal_the_whole_image(builder: Builder, options: dict[str, Any], scales: tuple[float, ...]) -> None:
    torch.manual_seed(seeded())
    network = awake(builder(2, width=2, scales=scales, **options))
    tile = 2 * (network.reach + 31) + 96
    # The nearest features that a 4×4 kernel of rate 8 reads lie 32 pixels away.
    assert_tiles_equal_the_whole(network, torch.rand(3, tile + 130, 50, dtype=torch.float64), tile)


@pytest.mark.parametrize("builder", [builder for builder, _ in EACH])
def test_batch_norm_and_dropout_are_options(builder: Builder) -> None:
    network = builder(2, width=2, dropout=0.0, batch_norm=True)
    norms = sum(isinstance(m, nn.BatchNorm2d) for m in network.modules())
    assert norms == (25 if builder is deeplab_msc_largefov else 15)
    image = torch.rand(2, 3, 40, 40)
    assert torch.equal(network(image), network(image))
    assert not torch.equal(*(builder(2, width=2)(image) for _ in range(2)))


def test_a_network_is_built_again_from_its_words() -> None:
    network = deeplab_4x4(3, width=2, rate=8, scales=(0.5, 1.0), align_corners=False)
    words = network_words(network)
    again = build_network(words.pop("kind"), words)
    assert [p.shape for p in again.parameters()] == [p.shape for p in network.parameters()]
    assert again.field_of_view == 224


def test_wrong_arguments_are_explained() -> None:
    with pytest.raises(InputError, match="num_classes: wanted at least 1, received 0"):
        deeplab_largefov(0)
    with pytest.raises(InputError, match="rate: wanted at least 1, received 0"):
        deeplab_7x7(2, width=1, rate=0)
    with pytest.raises(InputError, match="image"):
        deeplab_7x7(2, width=1)(torch.zeros(1, 4, 8, 8))
