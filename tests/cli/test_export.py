"""`densefield export`: what is refused, and where the packages are there, that ONNX gives the same scores."""

from __future__ import annotations

import importlib.util
import inspect
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from densefield.classes import ClassList
from densefield.cli.app import run
from densefield.networks import unet
from densefield.refine import DenseCRF
from densefield.runs.kinds import NETWORKS
from densefield.segmenter import Segmenter
from densefield.segmenter.export import Difference

CLASSES = ClassList(("a", "b", "c"), ((0, 0, 0), (1, 1, 1), (2, 2, 2)))
RUNS = all(importlib.util.find_spec(name) is not None for name in ("onnx", "onnxscript", "onnxruntime"))


def saved(folder: Path, network: torch.nn.Module, **more: torch.nn.Module) -> Path:
    Segmenter(network, CLASSES, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4), **more).save(folder / "a.safetensors")
    return folder / "a.safetensors"


def test_a_refinement_is_left_out_only_when_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = saved(tmp_path, unet(3, 3, width=1), refinement=DenseCRF(3))
    assert run(["export", str(path), "--out", str(tmp_path / "a.onnx")]) == 2
    assert "--without-refinement" in capsys.readouterr().err


def test_missing_packages_and_other_suffixes_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(tmp_path, unet(3, 3, width=1))
    assert run(["export", str(path), "--out", str(tmp_path / "a.pb")]) == 2
    assert "wanted a .onnx file" in capsys.readouterr().err
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert run(["export", str(path), "--out", str(tmp_path / "a.onnx")]) == 2
    assert "pip install onnx" in " ".join(capsys.readouterr().err.split())


def settled(network: nn.Module, side: int) -> nn.Module:
    """Drawn statistics, and drawn weights by which each convolution gives numbers of order one for an image."""

    def settle(layer: nn.Module, given: tuple[Tensor, ...], made: Tensor) -> Tensor:
        spread = made.std() or 1.0
        for parameter in layer.parameters():
            parameter /= spread
        return made / spread

    hooks = []
    with torch.no_grad():
        for name, statistics in network.named_buffers():
            if name.endswith("running_var"):
                statistics.uniform_(0.5, 2)
            elif name.endswith("running_mean"):
                statistics.normal_(std=0.3)
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d) and isinstance(layer.weight, nn.Parameter):
                layer.weight.normal_(mean=1)  # most above zero, so that no layer of few units rests
                hooks.append(layer.register_forward_hook(settle))
        network.eval()(torch.rand(2, network.in_channels, side, side))
    for hook in hooks:
        hook.remove()
    return network


# The larger FC-DenseNets and Classic Upsampling have the smallest's kinds of layers, and take a minute or two to trace.
LARGE = ("fc_densenet67", "fc_densenet103", "classic_upsampling")
# A value goes back where its maximum stood: of draws whose maxima are alike up to rounding, another is taken.
UNPOOLING = ("segnet", "segnet_basic", "deconvnet")


@pytest.mark.skipif(not RUNS, reason="the packages of densefield[export] are not there")
@pytest.mark.parametrize("kind", [kind for kind in NETWORKS.builders if kind not in LARGE] + ["unet valid"])
def test_the_file_gives_the_same_scores_at_three_sizes(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    build = NETWORKS.builders[kind.split()[0]]
    options = {"width": 2} if "width" in inspect.signature(build).parameters else {}
    if kind.startswith("unet"):
        options["padding"] = "valid" if kind == "unet valid" else "same"
    for _ in range(6 if kind in UNPOOLING else 1):
        network = settled(build(3, 3, **options), 188 if kind == "unet valid" else 97)
        path = saved(tmp_path, network)
        code = run(["export", str(path), "--out", str(tmp_path / "a.onnx"), "--check"])
        told = capsys.readouterr()
        if code == 0:
            break
    assert code == 0, told.err
    assert told.out.count("scores differ by") == 3
    assert "all scores are 0" not in told.out
    largest = [float(line.split("of up to ")[1]) for line in told.out.splitlines() if "of up to" in line]
    assert min(largest) > 0.1  # of far smaller scores a difference of 1e-4 would say nothing
    import onnx

    about = {each.key: each.value for each in onnx.load(tmp_path / "a.onnx").metadata_props}
    assert ClassList.from_dict(json.loads(about["classes"])) == CLASSES


@pytest.mark.parametrize("largest", [0.0, 1e-9])
def test_a_check_of_zeros_says_that_it_shows_nothing(
    tmp_path: Path, largest: float, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of an FCN whose score layers begin as zeros; the packages are not needed to tell."""
    found = {(64, 96): Difference(0.0, 0.0), (101, 75): Difference(0.0, largest)}
    monkeypatch.setattr("densefield.segmenter.export.export_onnx", lambda segmenter: b"a model")
    monkeypatch.setattr("densefield.segmenter.export.check_export", lambda segmenter, model: found)
    path = saved(tmp_path, unet(3, 3, width=1))
    assert run(["export", str(path), "--out", str(tmp_path / "a.onnx"), "--check"]) == 0
    told = capsys.readouterr().out
    assert told.count("scores differ by 0.0e+00 at most") == 2
    assert ("all scores are 0: the check shows nothing" in told) == (largest == 0)


@pytest.mark.skipif(not RUNS, reason="the packages of densefield[export] are not there")
def test_the_file_names_what_is_open_and_says_what_the_image_is(tmp_path: Path) -> None:
    network = unet(3, 1, width=1, padding="same").eval()
    Segmenter(network, CLASSES, mean=(0.4,), std=(0.2,)).save(tmp_path / "a.safetensors")
    assert run(["export", str(tmp_path / "a.safetensors"), "--out", str(tmp_path / "a.onnx")]) == 0
    import onnx

    model = onnx.load(tmp_path / "a.onnx")
    sides = [side.dim_param or side.dim_value for side in model.graph.input[0].type.tensor_type.shape.dim]
    assert sides == ["batch", 1, "height", "width"]
    assert {each.key: each.value for each in model.metadata_props}["image"] == "gray in [0, 1]"
