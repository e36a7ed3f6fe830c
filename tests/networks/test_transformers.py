from __future__ import annotations

import json
from typing import Any

import pytest
import torch

from densefield.checks import InputError
from densefield.networks import transformers
from densefield.optional import declare_torchvision

declare_torchvision()
pytest.importorskip("transformers")
pytestmark = pytest.mark.filterwarnings("ignore")

SMALL = {"model_type": "resnet", "hidden_sizes": [8, 8, 8, 8], "depths": [1, 1, 1, 1], "embedding_size": 8}
STAGES = ["stage1", "stage2", "stage3", "stage4"]
UPERNET = {"model_type": "upernet", "hidden_size": 8, "backbone_config": {**SMALL, "out_features": STAGES}}


def test_the_default_is_segformer_b0_parameter_for_parameter() -> None:
    network = transformers(3)
    assert sum(parameter.numel() for parameter in network.parameters()) == 3_714_915


@pytest.mark.parametrize("config", [{"model_type": "segformer", "depths": [1, 1, 1, 1]}, UPERNET])
@pytest.mark.parametrize("channels", [1, 3])
def test_any_size_is_scored_and_a_written_out_configuration_builds_it_again(
    config: dict[str, Any], channels: int
) -> None:
    network = transformers(5, channels, config=config).eval()
    image = torch.rand(1, channels, 45, 33)
    with torch.no_grad():
        assert network(image).shape == (1, 5, 45, 33)
        assert network(image[:, :, :1, :1]).shape == (1, 5, 1, 1)
        written = json.loads(json.dumps(network.model.config.to_diff_dict()))
        again = transformers(5, channels, config=written).eval()
        again.load_state_dict(network.state_dict())
        torch.testing.assert_close(again(image), network(image), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({}, "transformers: config.model_type: wanted one of beit, data2vec-vision, dpt"),
        ({"model_type": "segformr"}, r"config.model_type: there is no 'segformr'; did you mean 'segformer'\?"),
        ({"model_type": "segformer", "hiden_sizes": [1]}, "takes no 'hiden_sizes'; did you mean 'hidden_sizes'"),
        ({"model_type": "segformer", "auto_map": {}}, "config.auto_map: names code to be run"),
        ({"model_type": "segformer", "trust_remote_code": True}, "config.trust_remote_code: names code to be run"),
        ({"model_type": "segformer", "attn_implementation": "a/kernel"}, "takes no 'attn_implementation'"),
        (
            {"model_type": "upernet", "backbone_config": {"model_type": "resnet", "auto_map": {}}},
            "backbone_config.auto_map",
        ),
        (
            {"model_type": "upernet", "backbone_config": {"model_type": "timm_backbone", "backbone": "some/body"}},
            "config.backbone_config.backbone: timm has no 'some/body'",
        ),
        (
            {"model_type": "upernet", "backbone_config": {**SMALL, "use_pretrained_backbone": True}},
            "backbone_config: use_pretrained_backbone: none is fetched",
        ),
        ({"model_type": "segformer", "depths": "q"}, "transformers: does not accept its arguments"),
    ],
)
def test_what_does_not_fit_or_would_run_code_is_one_line(config: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError, match=told):
        transformers(3, config=config)


def test_a_configuration_without_channels_reads_three() -> None:
    with pytest.raises(InputError, match="in_channels: this configuration has no num_channels; wanted 3, received 1"):
        transformers(3, 1, config={"model_type": "upernet"})
