from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from densefield.networks import GoogLeNet, receptive_field
from densefield.networks.receptive_field import sight

# Table 1 of the paper: 1×1, 3×3 reduced, 3×3, 5×5 reduced, 5×5, after the maximum.
MODULES = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


def test_parameters_of_table_1_without_classifiers() -> None:
    with torch.device("meta"):
        network = GoogLeNet()
    total = (3 * 49 + 1) * 64 + (64 + 1) * 64 + (64 * 9 + 1) * 192
    before = 192
    for one, reduce3, three, reduce5, five, pooled in MODULES.values():
        total += (before + 1) * (one + reduce3 + reduce5 + pooled)
        total += (reduce3 * 9 + 1) * three + (reduce5 * 25 + 1) * five
        before = one + three + five + pooled
    assert sum(p.numel() for p in network.parameters()) == total == 5_973_552
    assert before == network.channels == 1024


def plain(network: GoogLeNet, image: Tensor) -> Tensor:
    tensors = network.state_dict()

    def convolution(name: str, values: Tensor, **options: int) -> Tensor:
        return functional.relu(functional.conv2d(values, tensors[f"{name}.weight"], tensors[f"{name}.bias"], **options))

    values = convolution("conv1.7x7_s2", image, stride=2, padding=3)
    values = functional.max_pool2d(values, 3, 2, ceil_mode=True)
    values = functional.local_response_norm(values, 5, 1e-4, 0.75)
    values = convolution("conv2.3x3", convolution("conv2.3x3_reduce", values), padding=1)
    values = functional.local_response_norm(values, 5, 1e-4, 0.75)
    for module in MODULES:
        name = f"inception_{module}"
        if module in ("3a", "4a", "5a"):
            values = functional.max_pool2d(values, 3, 2, ceil_mode=True)
        values = torch.cat(
            [
                convolution(f"{name}.1x1", values),
                convolution(f"{name}.3x3", convolution(f"{name}.3x3_reduce", values), padding=1),
                convolution(f"{name}.5x5", convolution(f"{name}.5x5_reduce", values), padding=2),
                convolution(f"{name}.pool_proj", functional.max_pool2d(values, 3, 1, 1)),
            ],
            dim=1,
        )
    return values


@pytest.mark.parametrize("size", [(195, 195), (227, 241), (258, 290)])
def test_features_are_those_of_the_definition_written_plainly(size: tuple[int, int]) -> None:
    network = GoogLeNet(width=2).double().eval()
    image = 100 * torch.rand(1, 3, *size, dtype=torch.float64)  # so that the normalisation shows
    torch.testing.assert_close(network(image), plain(network, image), rtol=0, atol=1e-10)


def test_where_its_features_lie_and_what_they_see() -> None:
    network = GoogLeNet(width=1)
    assert receptive_field(network) == 715  # 907 with the final average
    assert (sight(network).spacing, sight(network).center) == (network.stride, 30)


def test_layers_are_named() -> None:
    names = [name for name, _ in GoogLeNet(width=1).layers(torch.zeros(1, 3, 64, 64))]
    inceptions = [f"inception_{module}" for module in MODULES]
    assert names == ["pool1", "pool2", *inceptions[:2], "pool3", *inceptions[2:7], "pool4", *inceptions[7:]]
