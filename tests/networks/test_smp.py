from __future__ import annotations

from typing import Any

import pytest
import torch

from densefield.checks import InputError
from densefield.networks import smp
from densefield.optional import declare_torchvision

declare_torchvision()
pytest.importorskip("segmentation_models_pytorch")
pytestmark = pytest.mark.filterwarnings("ignore")


def test_the_default_is_its_unet_parameter_for_parameter() -> None:
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in smp(3).parameters()) == 24_436_659


@pytest.mark.parametrize(
    ("arguments", "multiple"),
    [
        ({}, 1),
        ({"options": {"aux_params": {"classes": 4}}}, 1),
        ({"arch": "FPN", "options": {"decoder_dropout": 0.1}}, 32),
        ({"arch": "Segformer", "encoder": "mit_b0"}, 32),
        ({"encoder": "tu-tf_efficientnet_lite0"}, 1),
        ({"arch": "DeepLabV3Plus", "options": {"encoder_output_stride": 16}}, 16),
    ],
)
def test_any_size_is_scored_whatever_the_class_wants(arguments: dict[str, Any], multiple: int) -> None:
    network = smp(3, **{"encoder": "resnet18", **arguments}).eval()
    assert network.multiple == multiple
    with torch.no_grad():
        for size in ((1, 1), (45, 33)):
            assert [tuple(each.shape) for each in network.all_scores(torch.rand(1, 3, *size))] == [(1, 3, *size)]


def test_gray_images_are_read() -> None:
    assert smp(2, 1, encoder="resnet18").eval()(torch.rand(1, 1, 32, 32)).shape == (1, 2, 32, 32)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"arch": "Unett"}, r"smp: arch: there is no 'Unett'; did you mean 'Unet'\? Wanted one of: DPT, DeepLabV3"),
        ({"encoder": "resnet4"}, r"smp: encoder: there is no 'resnet4'; did you mean 'resnet34'\?"),
        ({"encoder": "tu-hf-hub:some/body"}, "smp: encoder: timm has no 'hf-hub:some/body'"),
        (
            {"arch": "FPN", "options": {"decoder_drop": 1}},
            "FPN takes no 'decoder_drop'; did you mean 'decoder_dropout'",
        ),
        ({"options": {"encoder_weights": "imagenet"}}, "smp: options: Unet takes no 'encoder_weights'"),
        ({"options": {"activation": "softmax"}}, "smp: options: Unet takes no 'activation'"),
        ({"options": {"decoder_channels": [1, 2]}}, r"smp: does not accept its arguments \(Model depth is 5"),
    ],
)
def test_what_does_not_fit_is_one_line(arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        smp(3, **arguments)
