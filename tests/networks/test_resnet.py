import itertools
from typing import Literal

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from densefield.checks import InputError
from densefield.networks import ResNet
from drawing import seeded
from geometry import positive

Convention = Literal["caffe", "torchvision"]
BLOCKS = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}


@pytest.mark.parametrize(("depth", "count", "entries"), [(50, 23_508_032, 318), (101, 42_500_160, 624)])
@pytest.mark.parametrize("convention", ["caffe", "torchvision"])
def test_parameters_and_names_are_torchvisions(
    depth: Literal[50, 101], count: int, entries: int, convention: Convention
) -> None:
    with torch.device("meta"):
        network = ResNet(depth, convention)
    by_hand = 3 * 64 * 49 + 128
    before = 64
    for stage, blocks in enumerate(BLOCKS[depth]):
        inside, after = 64 * 2**stage, 256 * 2**stage
        by_hand += before * after + 2 * after  # the shortcut
        for _ in range(blocks):
            by_hand += before * inside + 9 * inside**2 + inside * after + 4 * inside + 2 * after
            before = after
    assert sum(p.numel() for p in network.parameters()) == by_hand == count
    names = list(network.state_dict())
    assert len(names) == entries  # torchvision's, less fc.weight and fc.bias
    assert names[:3] == ["conv1.weight", "bn1.weight", "bn1.bias"]
    layers = dict.fromkeys(name.rsplit(".", 1)[0] for name in names if name.startswith("layer2.0"))
    inside = [f"{kind}{index}" for index in (1, 2, 3) for kind in ("conv", "bn")]
    assert list(layers) == [f"layer2.0.{part}" for part in (*inside, "downsample.0", "downsample.1")]


def rates_and_strides(depth: int, convention: Convention) -> list[tuple[int, int, int]]:
    """Of every block: stride of the first 1×1, stride of the 3×3, rate of the 3×3; written down from the issue."""
    layer3, layer4 = BLOCKS[depth][2], BLOCKS[depth][3]
    if convention == "caffe":
        return [(1, 1, 1)] * 3 + [(2, 1, 1)] + [(1, 1, 1)] * 3 + [(1, 1, 2)] * layer3 + [(1, 1, 4)] * layer4
    dilated = [(1, 1, 1), *[(1, 1, 2)] * (layer3 - 1), (1, 1, 2), *[(1, 1, 4)] * (layer4 - 1)]
    return [(1, 1, 1)] * 3 + [(1, 2, 1)] + [(1, 1, 1)] * 3 + dilated


def restated(network: nn.Module, image: Tensor, convention: Convention) -> Tensor:
    weights = network.state_dict()

    def step(x: Tensor, conv: str, norm: str, stride: int = 1, rate: int = 1) -> Tensor:
        weight = weights[f"{conv}.weight"]
        x = functional.conv2d(x, weight, None, stride, weight.shape[2] // 2 * rate, rate)
        statistics = (weights[f"{norm}.running_mean"], weights[f"{norm}.running_var"])
        return functional.batch_norm(x, *statistics, weights[f"{norm}.weight"], weights[f"{norm}.bias"])

    x = image
    for index in range(1, 4):
        if f"conv{index}.weight" in weights:
            x = functional.relu(step(x, f"conv{index}", f"bn{index}", 2 if index == 1 else 1))
    x = functional.max_pool2d(x, 3, 2, 1, ceil_mode=convention == "caffe")
    places = [f"layer{stage}.{block}" for stage, n in enumerate((3, 4, 6, 3), start=1) for block in range(n)]
    for name, (first, second, rate) in zip(places, rates_and_strides(50, convention), strict=True):
        y = functional.relu(step(x, f"{name}.conv1", f"{name}.bn1", first))
        y = functional.relu(step(y, f"{name}.conv2", f"{name}.bn2", second, rate))
        y = step(y, f"{name}.conv3", f"{name}.bn3")
        if name.endswith(".0"):
            x = step(x, f"{name}.downsample.0", f"{name}.downsample.1", first * second)
        x = functional.relu(x + y)
    return x


@pytest.mark.parametrize("convention", ["caffe", "torchvision"])
@pytest.mark.parametrize("stem", ["7x7", "3x3"])
@pytest.mark.parametrize("size", [(1, 1), (33, 47), (64, 96)])
def test_features_are_those_of_a_plain_restatement(
    convention: Convention, stem: Literal["7x7", "3x3"], size: tuple[int, int]
) -> None:
    torch.manual_seed(seeded())
    network = ResNet(50, convention, width=4, stem=stem).double().eval()
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean.uniform_(-0.1, 0.1)
            norm.running_var.uniform_(0.8, 1.2)
    image = torch.rand(2, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        features = network(image)
    torch.testing.assert_close(features, restated(network, image, convention), rtol=1e-10, atol=1e-10)
    assert features.shape[:2] == (2, network.channels)


@pytest.mark.parametrize("depth", [50, 101])
@pytest.mark.parametrize("convention", ["caffe", "torchvision"])
def test_strides_and_rates_are_the_conventions(depth: Literal[50, 101], convention: Convention) -> None:
    with torch.device("meta"):
        network = ResNet(depth, convention)
    blocks = itertools.chain.from_iterable(network.get_submodule(f"layer{stage}") for stage in (1, 2, 3, 4))
    found = [(block.conv1.stride[0], block.conv2.stride[0], block.conv2.dilation[0]) for block in blocks]
    assert found == rates_and_strides(depth, convention)


@pytest.mark.parametrize(("convention", "length"), [("caffe", 41), ("torchvision", 40)])
def test_only_caffes_maximum_rounds_up(convention: Convention, length: int) -> None:
    network = ResNet(50, convention, width=1).eval()
    assert network(torch.rand(1, 3, 320, 1)).shape[2] == length
    assert network(torch.rand(1, 3, 321, 1)).shape[2] == 41


@pytest.mark.parametrize("convention", ["caffe", "torchvision"])
@pytest.mark.parametrize("stem", ["7x7", "3x3"])
def test_reach_is_how_far_a_feature_sees(convention: Convention, stem: Literal["7x7", "3x3"]) -> None:
    torch.manual_seed(seeded())
    network = positive(ResNet(50, convention, width=1, stem=stem))
    middle = network.reach // 8 + 3
    for rows in (torch.linspace(0, 1, 16 * middle + 1), torch.linspace(1, 0, 16 * middle + 1)):
        image = rows.double()[None, None, :, None].repeat(1, 3, 1, 1).requires_grad_()
        network(image)[0, :, middle].sum().backward()
        touched = image.grad.abs().sum((0, 1, 3)).nonzero().flatten() - 8 * middle
        assert network.reach - 2 <= max(-int(touched.min()), int(touched.max())) <= network.reach


def test_stages_can_be_tapped() -> None:
    network = ResNet(50, "caffe", width=2).eval()
    image = torch.rand(1, 3, 33, 40)
    made = dict(network.layers(image))
    assert [(name, features.shape[1]) for name, features in made.items()] == [
        ("layer1", 8),
        ("layer2", 16),
        ("layer3", 32),
        ("layer4", 64),
    ]
    assert torch.equal(made["layer4"], network(image))


def test_wrong_arguments_are_explained() -> None:
    with pytest.raises(InputError, match="depth: wanted 50 or 101, received 18"):
        ResNet(18, "caffe")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="convention: wanted 'caffe' or 'torchvision', received 'keras'"):
        ResNet(50, "keras")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="stem: wanted '7x7' or '3x3', received '5x5'"):
        ResNet(50, "caffe", stem="5x5")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="image"):
        ResNet(50, "caffe", width=1)(torch.zeros(1, 4, 8, 8))
