from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from densefield.checks import InputError
from densefield.networks import (
    VGG,
    deeplab_4x4,
    deeplab_7x7,
    deeplab_aspp_vgg16,
    deeplab_largefov,
    deeplab_msc_largefov,
    fc_densenet56,
    fcn8s,
    fcn32s_alexnet,
    fcn32s_googlenet,
    hypercolumns,
    receptive_field,
    unet,
)
from densefield.networks.receptive_field import sight
from geometry import field_by_gradient


@pytest.mark.parametrize(("pool", "field"), [(2, 196), (3, 211)])
def test_of_a_trunk(pool: int, field: int, monkeypatch: pytest.MonkeyPatch) -> None:
    trunk = VGG(width=1, output_stride=16, pool=pool)
    assert receptive_field(trunk) == field == field_by_gradient(trunk, trunk, 497, monkeypatch)


@pytest.mark.parametrize(
    ("build", "options", "made", "field", "across"),
    [
        (deeplab_7x7, {}, "fc8", 404, 1),  # published with rate 4
        (deeplab_4x4, {"rate": 4}, "fc8", 308, 120),
        (deeplab_4x4, {"rate": 8}, "fc8", 404, 220),
        (deeplab_largefov, {}, "fc8", 435, 1),
        (deeplab_msc_largefov, {}, "fc8", 435, 1),
        (deeplab_aspp_vgg16, {}, "fc8_4", 227 + 2 * 24 * 8, 1),  # of pool5, and the widest branch's holes
        (deeplab_aspp_vgg16, {"rates": (2, 4, 8, 12)}, "fc8_4", 227 + 2 * 12 * 8, 1),
        (fcn8s, {}, "score_fr", 404, 1),  # enlarged and added where they are made
        (fcn32s_alexnet, {}, "score_fr", 355, 1),
        (fcn32s_googlenet, {}, "score_fr", 715, 1),
        (hypercolumns, {}, "trunk.fc7", 355, 1),
    ],
)
def test_of_networks_is_the_published_number_and_what_gradients_reach(
    build: Callable[..., nn.Module],
    options: dict[str, Any],
    made: str,
    field: int,
    across: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = build(2, width=1, **options)
    assert receptive_field(network) == field
    layer, side = network.get_submodule(made), 2 * field - 1
    assert field_by_gradient(network, layer, side, monkeypatch, across=across) == field


def test_where_the_first_score_lies() -> None:
    assert sight(deeplab_largefov(2, width=1)).center == 0


def test_of_a_network_of_valid_convolutions_that_scores_its_middle() -> None:
    network = unet(2, width=1)
    assert sight(network).center == network.margin
    # 5 levels of two 3×3 convolutions down, 4 up, and a 2×2 maximum between the levels: 1, 2, 4, 8, 16 pixels apart.
    down, up, pools = 4 * (1 + 2 + 4 + 8 + 16), 4 * (1 + 2 + 4 + 8), 1 + 2 + 4 + 8
    assert receptive_field(network) == 1 + down + up + pools


def test_dense_blocks_are_followed_and_modes_are_left_as_they_were() -> None:
    network = fc_densenet56(2).train()
    network.first.eval()
    assert receptive_field(network) > 700
    assert network.training
    assert not network.first.training


class Steps(nn.Module):
    """Each of the ways by which a tensor is cut, padded, joined and enlarged; what they see was counted by hand."""

    in_channels = 1

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.wide = nn.Conv2d(1, 1, (5, 1), padding=(2, 0))
        self.back = nn.ConvTranspose2d(1, 1, (3, 1), padding=(1, 0))

    def forward(self, image: Tensor) -> Tensor:
        if self.kind == "moved":
            return functional.pad(image, (0, 0, 3, 3), mode="reflect")[:, :, 2:] + image.new_zeros(1)
        if self.kind == "joined":
            return torch.cat([self.wide(image), functional.pad(image, (0, 0, 4, 0))[:, :, :-4]], dim=1)
        if self.kind == "back":
            return self.back(image)
        pooled, places = functional.max_pool2d(image[:, :, 1:, 1:], 2, return_indices=True)
        if self.kind == "unpooled":
            return functional.max_unpool2d(self.wide(pooled), places, 2)
        return functional.interpolate(self.wide(pooled), scale_factor=2, mode=self.kind)


@pytest.mark.parametrize(
    ("kind", "field", "center"),
    [
        ("moved", 1, -1),
        ("joined", 7, -1),
        ("back", 3, 0),
        *((kind, 10, 1) for kind in ("unpooled", "nearest", "bilinear")),
    ],
)
def test_steps_by_hand(kind: str, field: int, center: float) -> None:
    found = sight(Steps(kind))
    assert (found.field, found.center, found.spacing) == (field, center, 1)


class Whole(nn.Module):
    def forward(self, image: Tensor) -> Tensor:
        return image - image.mean((2, 3), keepdim=True)


class Uneven(nn.Module):
    def forward(self, image: Tensor) -> Tensor:
        other = functional.interpolate(image, size=(700, 700), mode="bilinear", align_corners=True)
        return other + image[:, :, :700, :700]


def test_what_cannot_be_told_is_said() -> None:
    with pytest.raises(InputError, match=r"receptive_field: the network looks at the whole image.* \(mean\)"):
        receptive_field(Whole())
    with pytest.raises(InputError, match="receptive_field: wanted one size of the image, and features as far apart"):
        receptive_field(Uneven())
    with pytest.raises(InputError, match="looks at the whole image or at several sizes of it"):
        receptive_field(deeplab_largefov(2, width=1, scales=(0.5, 1.0)))
    with pytest.raises(InputError, match="scores do not depend on the image"):
        receptive_field(Constant())


class Constant(nn.Module):
    def forward(self, image: Tensor) -> Tensor:
        return torch.zeros(1, 1, 4, 4, device=image.device)
