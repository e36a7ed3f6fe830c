"""What libraries know of their networks: scaling, and weights, which no test fetches: the fetching is stood in for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from densefield.checks import InputError
from densefield.networks import smp, timm, torchvision, transformers, unet
from densefield.networks.adapted import Adapted
from densefield.networks.pretrained import fetch, preparation
from densefield.optional import declare_torchvision

declare_torchvision()
segmentation_models = pytest.importorskip("segmentation_models_pytorch")
library = pytest.importorskip("timm")
for name in ("torchvision", "transformers"):
    pytest.importorskip(name)
pytestmark = pytest.mark.filterwarnings("ignore")

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_arguments: Any, **_named: Any) -> None:
        raise OSError("no network here")

    monkeypatch.setattr(segmentation_models.encoders, "hf_hub_download", refused)
    monkeypatch.setattr("socket.getaddrinfo", refused)


def hub(monkeypatch: pytest.MonkeyPatch, folder: Path, stated: dict[str, Any], weights: dict[str, Tensor]) -> None:
    """A hub that has one encoder, as segmentation_models.pytorch asks for it."""
    (folder / "config.json").write_text(json.dumps(stated))
    save_file(weights, folder / "model.safetensors")
    there = lambda _repo, filename, revision: str(folder / filename)  # noqa: E731
    monkeypatch.setattr(segmentation_models.encoders, "hf_hub_download", there)


def scaling(network: nn.Module, beside: Path | None = None) -> tuple[tuple[float, ...], tuple[float, ...]]:
    found = preparation(network, beside)
    assert found is not None
    return found.mean, found.std


def test_scaling_is_the_librarys_own() -> None:
    assert scaling(timm(3)) == ((0.5,) * 3, (0.5,) * 3)  # tf_efficientnet_lite0's
    assert scaling(timm(3, encoder="resnet18")) == IMAGENET
    assert scaling(torchvision(3, name="lraspp_mobilenet_v3_large")) == IMAGENET
    assert scaling(smp(3, encoder="tu-tf_efficientnet_lite0")) == ((0.5,) * 3, (0.5,) * 3)


def test_where_a_hub_cannot_be_asked_it_is_imagenets_and_that_is_said() -> None:
    for network in (smp(3, encoder="resnet18"), transformers(3)):
        found = preparation(network)
        assert found is not None
        assert (found.mean, found.std) == IMAGENET
        assert found.whose.startswith("ImageNet's, as ")


def test_our_own_networks_have_none() -> None:
    assert preparation(unet(2, width=1)) is None


def test_what_a_hub_says_in_bgr_and_255_is_turned_into_rgb_and_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stated = {"input_space": "BGR", "input_range": [0, 255], "mean": [104, 117, 128], "std": [1, 2, 4]}
    hub(monkeypatch, tmp_path, stated, {})
    assert scaling(smp(3, encoder="resnet18")) == (
        (128 / 255, 117 / 255, 104 / 255),
        (4 / 255, 2 / 255, 1 / 255),
    )


@pytest.mark.parametrize(
    ("stated", "mean", "std"),
    [
        ({"image_mean": [0.5, 0.4, 0.3], "image_std": [0.1, 0.2, 0.3]}, (0.5, 0.4, 0.3), (0.1, 0.2, 0.3)),
        ({"image_mean": [127.5] * 3, "image_std": [51.0] * 3, "do_rescale": False}, (0.5,) * 3, (0.2,) * 3),
        ({"image_mean": [9] * 3, "image_std": [9] * 3, "do_normalize": False}, (0.0,) * 3, (1.0,) * 3),
    ],
)
def test_a_preprocessor_beside_the_weights_says_it_of_transformers(
    stated: dict[str, Any], mean: tuple[float, ...], std: tuple[float, ...], tmp_path: Path
) -> None:
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(stated))
    found = scaling(transformers(3), tmp_path)
    assert found == (pytest.approx(mean), pytest.approx(std))


@pytest.mark.parametrize("text", ["{}", "[]", "no json", '{"image_mean": "x", "image_std": 3}'])
def test_a_preprocessor_that_says_it_otherwise_is_one_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "preprocessor_config.json").write_text(text)
    with pytest.raises(InputError, match=r"config.json: wanted image_mean and image_std, a number a channel"):
        preparation(transformers(3), tmp_path)


def test_weights_of_a_hub_fill_the_encoder_and_leave_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network, there = smp(3, encoder="resnet18"), smp(3, encoder="resnet18")
    assert isinstance(network, Adapted)
    encoder = there.model.get_submodule("encoder").state_dict()
    hub(monkeypatch, tmp_path, {"mean": IMAGENET[0], "std": IMAGENET[1]}, encoder)
    head = network.model.get_submodule("segmentation_head").state_dict()
    before = {name: tensor.clone() for name, tensor in head.items()}
    assert fetch(network).startswith("weights: the encoder's of segmentation-models-pytorch ")
    for name, tensor in network.model.get_submodule("encoder").state_dict().items():
        assert torch.equal(tensor, encoder[name])
    assert all(torch.equal(tensor, before[name]) for name, tensor in head.items())


def test_weights_for_bgr_are_turned_where_the_image_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network, there = smp(3, encoder="resnet18"), smp(3, encoder="resnet18")
    encoder = there.model.get_submodule("encoder").state_dict()
    hub(monkeypatch, tmp_path, {"input_space": "BGR", "mean": [1, 2, 3], "std": [1, 1, 1]}, encoder)
    fetch(network)
    filled = network.model.get_submodule("encoder").state_dict()
    assert torch.equal(filled["conv1.weight"], encoder["conv1.weight"].flip(1))
    assert torch.equal(filled["layer1.0.conv1.weight"], encoder["layer1.0.conv1.weight"])


def test_torchvision_and_timm_fetch_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.models import mobilenet_v3_large

    theirs = mobilenet_v3_large(weights=None).state_dict()
    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", lambda *_a, **_k: theirs)
    network = torchvision(3, name="lraspp_mobilenet_v3_large")
    assert fetch(network).startswith("weights: the backbone's of torchvision ")
    assert torch.equal(network.model.backbone["0"][0].weight, theirs["features.0.0.weight"])
    kept = library.create_model

    def fetched(encoder: str, *, pretrained: bool, **named: Any) -> nn.Module:
        made = kept(encoder, pretrained=False, **named)
        if pretrained:
            nn.init.constant_(next(made.parameters()), 0.25)
        return made

    monkeypatch.setattr(library, "create_model", fetched)
    small = timm(3)
    assert not bool((next(small.model.encoder.parameters()) == 0.25).all())
    fetch(small)
    assert bool((next(small.model.encoder.parameters()) == 0.25).all())


def test_what_cannot_be_fetched_is_one_line_and_changes_nothing() -> None:
    network = smp(3, encoder="resnet18")
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(
        InputError, match=r"^weights: library: segmentation-models-pytorch fetches none \(.*give a file"
    ):
        fetch(network)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    with pytest.raises(InputError, match=r"transformers fetches none \(a configuration names no weights\)"):
        fetch(transformers(3))
    with pytest.raises(InputError, match="this network is of no library; wanted a file, or a saved segmenter"):
        fetch(unet(2, width=1))
