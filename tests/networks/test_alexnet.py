from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from densefield.checks import InputError
from densefield.networks import AlexNet, receptive_field
from densefield.networks.alexnet import local_response
from densefield.networks.receptive_field import sight


def test_parameters_with_the_classifier() -> None:
    with torch.device("meta"):
        network = AlexNet()
    convolutions = (3 * 121 + 1) * 96 + (48 * 25 + 1) * 256 + (256 * 9 + 1) * 384 + (192 * 9 + 1) * (384 + 256)
    fully = (256 * 36 + 1) * 4096 + (4096 + 1) * 4096
    assert sum(p.numel() for p in network.parameters()) == convolutions + fully
    assert convolutions + fully + (4096 + 1) * 1000 == 60_965_224


def plain(network: AlexNet, image: Tensor) -> dict[str, Tensor]:
    tensors = network.state_dict()

    def convolution(name: str, values: Tensor, **options: int) -> Tensor:
        return functional.relu(functional.conv2d(values, tensors[f"{name}.weight"], tensors[f"{name}.bias"], **options))

    def pool(values: Tensor) -> Tensor:
        return functional.max_pool2d(values, 3, 2, ceil_mode=True)

    norm = {"size": 5, "alpha": 1e-4, "beta": 0.75}
    made = {"pool1": pool(convolution("conv1", image, stride=4))}
    made["norm1"] = functional.local_response_norm(made["pool1"], **norm)
    made["pool2"] = pool(convolution("conv2", made["norm1"], padding=2, groups=2))
    made["norm2"] = functional.local_response_norm(made["pool2"], **norm)
    made["conv3"] = convolution("conv3", made["norm2"], padding=1)
    made["conv4"] = convolution("conv4", made["conv3"], padding=1, groups=2)
    made["pool5"] = pool(convolution("conv5", made["conv4"], padding=1, groups=2))
    made["fc6"] = convolution("fc6", made["pool5"])
    made["fc7"] = convolution("fc7", made["fc6"])
    return made


@pytest.mark.parametrize("size", [(199, 199), (233, 247), (264, 296)])
def test_layers_are_those_of_the_definition_written_plainly(size: tuple[int, int]) -> None:
    network = AlexNet(width=1).double().eval()
    image = 100 * torch.rand(1, 3, *size, dtype=torch.float64)  # so that the normalisation shows
    found, wanted = dict(network.layers(image)), plain(network, image)
    for name, features in wanted.items():
        torch.testing.assert_close(found[name], features, rtol=0, atol=1e-10)
    assert torch.equal(network(image), found["fc7"])
    assert found["fc7"].shape[:2] == (1, network.channels)


def test_where_its_features_lie_and_what_they_see() -> None:
    network = AlexNet(width=1)
    assert receptive_field(network) == 355
    assert (sight(network).spacing, sight(network).center) == (network.stride, 113)


@pytest.mark.parametrize("channels", [1, 3, 8])
def test_neighbouring_channels_hold_each_other_down(channels: int) -> None:
    features = 300 * torch.randn(2, channels, 4, 3, dtype=torch.float64)
    wanted = torch.empty_like(features)
    for place in range(channels):
        near = features[:, max(place - 2, 0) : place + 3].square().sum(1)
        wanted[:, place] = features[:, place] * (1 + 1e-4 * near / 5) ** -0.75
    torch.testing.assert_close(local_response(features), wanted, rtol=1e-12, atol=0)


def test_another_number_of_channels_is_refused() -> None:
    with pytest.raises(InputError, match=r"image: wanted shape \(B, 3, H, W\)"):
        AlexNet(width=1)(torch.zeros(1, 1, 227, 227))
