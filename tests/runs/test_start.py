"""What a run starts from: scaling that a recipe leaves open, and weights of a file, a segmenter or a library."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from rich.console import Console
from safetensors.torch import save_file

from densefield.checks import InputError
from densefield.networks import unet
from densefield.optional import declare_torchvision
from densefield.runs.files import read_recipe, validated
from densefield.runs.folder import read_json
from densefield.runs.recipe import Recipe
from densefield.runs.start import start
from densefield.runs.train import Machine, train
from densefield.segmenter import Segmenter

MACHINE = Machine(accelerator="cpu", devices=1, workers=0, bar=False)
QUIET = Console(quiet=True)
UNET = {"kind": "unet", "padding": "same", "width": 2}


OTHERWISE = """
import torch
from torch import nn

class Named(nn.Conv2d):
    def forward(self, image):
        return {"scores": super().forward(image)}

def one_short(num_classes, in_channels):
    return nn.Conv2d(in_channels, num_classes - 1, 1)

def no_out(num_classes, in_channels):
    return Named(in_channels, num_classes, 1)

def no_numbers(num_classes, in_channels):
    layer = nn.Conv2d(in_channels, num_classes, 1)
    nn.init.constant_(layer.weight, torch.nan)
    return layer
"""


def recipe(**changes: Any) -> Recipe:
    plain = {
        "name": "tiny",
        "network": UNET,
        "data": {"kind": "samples", "size": 32, "scenes": 4, "held_out_size": 32, "held_out_scenes": 2},
        "stages": [{"epochs": 1, "batch_size": 4}],
    }
    return validated({**plain, **changes}, "tiny")


def started(chosen: Recipe, network: torch.nn.Module) -> tuple[Any, list[str]]:
    said: list[str] = []
    return start(chosen, network, None, said.append), said


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained segmenter whose pixels were scaled in a way of its own."""
    folder = tmp_path_factory.mktemp("runs") / "saved"
    train(recipe(mean=[0.1, 0.2, 0.3], std=[0.4, 0.5, 0.6]), folder, machine=MACHINE, console=QUIET)
    return folder


@pytest.mark.parametrize(
    ("given", "mean", "std"),
    [
        ({}, (0.5,) * 3, (0.25,) * 3),
        ({"mean": [0.1]}, (0.1,), (0.25,)),
        ({"std": [0.1, 0.2, 0.3]}, (0.5,) * 3, (0.1, 0.2, 0.3)),
    ],
)
def test_what_a_recipe_leaves_open_is_the_usual(
    given: dict[str, Any], mean: tuple[float, ...], std: tuple[float, ...]
) -> None:
    found, said = started(recipe(**given), unet(3, len(mean), padding="same", width=2))
    assert found.scaling == (mean, std)
    assert said == []


def test_a_saved_segmenter_brings_its_scaling(saved: Path, tmp_path: Path) -> None:
    train(recipe(weights=str(saved)), tmp_path / "run", machine=MACHINE, console=QUIET)
    assert read_recipe(tmp_path / "run" / "recipe.yaml").mean == (0.1, 0.2, 0.3)
    assert Segmenter.load(tmp_path / "run").std == (0.4, 0.5, 0.6)


def test_a_run_that_goes_on_keeps_its_own_numbers(saved: Path) -> None:
    train(recipe(), saved, resume=True, machine=MACHINE, console=QUIET)
    with pytest.raises(InputError, match=r"mean.0 was 0.1, now 0.5"):
        train(recipe(mean=[0.5] * 3), saved, resume=True, machine=MACHINE, console=QUIET)


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
def test_of_a_released_file_what_fits_is_taken_and_the_rest_is_said(name: str, tmp_path: Path) -> None:
    there = unet(5, padding="same", width=2)  # for other classes
    write = save_file if name.endswith("safetensors") else torch.save
    write(there.state_dict(), tmp_path / name)
    network = unet(3, padding="same", width=2)
    found, said = started(recipe(weights=str(tmp_path / name)), network)
    assert found.saved is None
    own, theirs = network.state_dict(), there.state_dict()
    alike = [key for key in own if own[key].shape == theirs[key].shape]
    assert len(alike) == len(own) - 2
    assert all(torch.equal(own[key], theirs[key]) for key in alike)
    (line,) = said
    assert line.startswith(f"weights: {tmp_path / name}: ")
    assert "; drawn anew: " in line


@pytest.mark.parametrize(
    ("weights", "told"),
    [
        ("library", "weights: library: this network is of no library"),
        ("none.pth", "none.pth: .*no such file"),
        ("nowhere", "nowhere: no such file or folder; wanted a saved segmenter"),
        ("none.safetensors", "none.safetensors: no such file"),
    ],
)
def test_weights_that_are_not_there_end_the_run_before_it_begins(weights: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=told):
        train(recipe(weights=weights), tmp_path / "run", machine=MACHINE, console=QUIET)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("one_short", r"network: wanted scores \(B, 3, h, w\), received \(1, 2, 32, 32\)"),
        ("no_out", r"network: wanted scores .*received dict with scores: \(1, 3, 32, 32\)"),
        ("no_numbers", "network: its scores hold NaN"),
    ],
)
def test_a_network_that_answers_otherwise_is_refused_before_the_run_begins(
    name: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "answers_otherwise.py").write_text(OTHERWISE)
    monkeypatch.syspath_prepend(tmp_path)
    target = f"answers_otherwise:{name}"
    chosen = recipe(network={"kind": "python", "target": target})
    with pytest.raises(InputError, match=told):
        train(chosen, tmp_path / "run", trust=target, machine=MACHINE, console=QUIET)
    assert not (tmp_path / "run").exists()


@pytest.mark.filterwarnings("ignore")
def test_a_network_of_a_library_is_trained_scaled_as_the_library_says_with_a_crf_behind(tmp_path: Path) -> None:
    declare_torchvision()
    pytest.importorskip("timm")
    told = io.StringIO()
    network = {"kind": "timm", "encoder": "mobilenetv3_small_050", "width": 8}
    chosen = recipe(network=network, refinement={"kind": "dense_crf", "iterations": 2})
    train(chosen, tmp_path / "run", machine=MACHINE, console=Console(file=told, width=400))
    numbers = yaml.safe_load((tmp_path / "run" / "recipe.yaml").read_text())
    assert numbers["mean"] == [0.485, 0.456, 0.406]
    assert "mean 0.485, 0.456, 0.406, std 0.229, 0.224, 0.225, where the recipe says none: timm " in told.getvalue()
    assert "timm" in read_json(tmp_path / "run" / "versions.json")
    loaded = Segmenter.load(tmp_path / "run")
    assert loaded.mean == (0.485, 0.456, 0.406)
    assert loaded(torch.rand(3, 37, 45)).shape == (37, 45)


@pytest.mark.filterwarnings("ignore")
def test_released_weights_of_an_encoder_are_found_by_their_names(tmp_path: Path) -> None:
    declare_torchvision()
    timm = pytest.importorskip("timm")
    from densefield.networks import timm as kind

    theirs = timm.create_model("resnet18", pretrained=False).state_dict()
    torch.save(theirs, tmp_path / "resnet18.pth")
    network = kind(3, encoder="resnet18", width=8)
    _, said = started(
        recipe(network={"kind": "timm", "encoder": "resnet18"}, weights=str(tmp_path / "resnet18.pth")), network
    )
    for name, tensor in network.model.encoder.state_dict().items():
        if "num_batches" not in name:
            assert torch.equal(tensor, theirs[name]), name
    assert "drawn anew: model.head." in said[-1]
