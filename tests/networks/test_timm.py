from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional

from densefield.checks import InputError
from densefield.networks.timm import Pyramid, Rates, timm
from densefield.optional import declare_torchvision


def test_a_pyramid_adds_coarse_to_fine() -> None:
    head = Pyramid([2, 3, 4], 5, 6).double().eval()
    levels = [
        torch.rand(1, channels, 16 // side, 24 // side, dtype=torch.float64)
        for channels, side in ((2, 1), (3, 2), (4, 4))
    ]
    fine, middle, coarse = (
        torch.einsum("oc,bchw->bohw", lateral.weight[:, :, 0, 0], level) + lateral.bias[:, None, None]
        for lateral, level in zip(head.lateral, levels, strict=True)
    )

    def twice(maps: torch.Tensor) -> torch.Tensor:
        return functional.interpolate(maps, scale_factor=2.0, mode="bilinear", align_corners=False)

    wanted = head.score(head.smooth(fine + twice(middle + twice(coarse))))
    torch.testing.assert_close(head(levels), wanted)
    assert wanted.shape == (1, 5, 16, 24)


@pytest.mark.parametrize(("stride", "rates"), [(8, [12, 24, 36]), (16, [6, 12, 18]), (32, [3, 6, 9])])
def test_rates_keep_their_field_of_view_at_every_stride(stride: int, rates: list[int]) -> None:
    head = Rates(4, 3, stride, 8).eval()
    assert [branch[0].dilation[0] for branch in head.branches[1:]] == rates
    assert head([torch.rand(1, 4, 5, 7)]).shape == (1, 3, 5, 7)


def test_a_batch_of_one_image_learns_with_the_images_mean() -> None:
    head = Rates(4, 3, 16, 8).train()
    head([torch.rand(1, 4, 5, 7)]).sum().backward()
    assert head.mean.weight.grad is not None


@pytest.mark.filterwarnings("ignore")
class TestWithTimm:
    @pytest.fixture(autouse=True)
    def _there(self) -> None:
        declare_torchvision()
        pytest.importorskip("timm")

    def test_the_encoder_is_timms_and_the_head_is_small(self) -> None:
        network = timm(3)
        assert sum(parameter.numel() for parameter in network.parameters()) == 3_028_035

    @pytest.mark.parametrize(
        ("arguments", "multiple"),
        [
            ({}, 32),
            ({"head": "deeplab", "output_stride": 16}, 16),
            ({"head": "deeplab"}, 32),
            ({"encoder": "convnext_atto"}, 32),
            ({"encoder": "resnet18", "output_stride": 8}, 8),
        ],
    )
    def test_any_size_is_scored(self, arguments: dict[str, Any], multiple: int) -> None:
        network = timm(3, **arguments).eval()
        assert network.multiple == multiple
        with torch.no_grad():
            for size in ((1, 1), (45, 33)):
                assert network(torch.rand(1, 3, *size)).shape == (1, 3, *size)

    def test_an_encoder_with_its_channels_last_and_of_one_size_says_so_of_others(self) -> None:
        network = timm(3, encoder="swin_tiny_patch4_window7_224").eval()
        with torch.no_grad():
            assert network(torch.rand(1, 3, 224, 224)).shape == (1, 3, 224, 224)
        with pytest.raises(InputError, match=r"does not take an image \(1, 3, 64, 64\) \(Input height \(64\) doesn't"):
            network(torch.rand(1, 3, 33, 45))

    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            ({"encoder": "tf_efficientnet_lite"}, "timm: encoder: timm has no 'tf_efficientnet_lite'; did you mean"),
            ({"encoder": "hf-hub:some/body"}, "timm: encoder: timm has no 'hf-hub:some/body'"),
            ({"head": "upernet"}, "head: wanted 'fpn' or 'deeplab', received 'upernet'"),
            ({"encoder": "swin_tiny_patch4_window7_224", "output_stride": 8}, "timm: does not accept its arguments"),
        ],
    )
    def test_what_does_not_fit_is_one_line(self, arguments: dict[str, Any], told: str) -> None:
        with pytest.raises(InputError, match=told):
            timm(3, **arguments)
