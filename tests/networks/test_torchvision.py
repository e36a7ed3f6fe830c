from __future__ import annotations

from typing import Any

import pytest
import torch

from densefield.checks import InputError
from densefield.networks import torchvision
from densefield.optional import declare_torchvision

declare_torchvision()
pytest.importorskip("torchvision")
pytestmark = pytest.mark.filterwarnings("ignore")


def test_lraspp_is_its_own_parameter_for_parameter() -> None:
    network = torchvision(3, name="lraspp_mobilenet_v3_large").eval()
    assert sum(parameter.numel() for parameter in network.parameters()) == 3_218_478
    with torch.no_grad():
        for size in ((1, 1), (45, 33)):
            assert network(torch.rand(1, 3, *size)).shape == (1, 3, *size)


def test_an_auxiliary_head_is_learned_from() -> None:
    network = torchvision(3, name="deeplabv3_mobilenet_v3_large", options={"aux_loss": True}).eval()
    with torch.no_grad():
        scores = network.all_scores(torch.rand(1, 3, 45, 33))
    assert [tuple(each.shape) for each in scores] == [(1, 3, 45, 33)] * 2


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"name": "fcn_resnet5"}, r"torchvision: name: there is no 'fcn_resnet5'; did you mean 'fcn_resnet50'\?"),
        ({"options": {"aux": True}}, "deeplabv3_resnet50 takes no 'aux'; did you mean 'aux_loss'"),
        ({"options": {"weights_backbone": "DEFAULT"}}, "takes no 'weights_backbone'"),
        ({"in_channels": 1}, "read 3 channels; give mean and std of three values, .* received 1"),
    ],
)
def test_what_does_not_fit_is_one_line(arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        torchvision(3, **arguments)
