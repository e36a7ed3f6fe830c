"""`densefield export`: what is refused, and where the packages are there, that ONNX gives the same scores."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import torch

from densefield.classes import ClassList
from densefield.cli.app import run
from densefield.networks import deeplab_largefov, unet
from densefield.refine import DenseCRF
from densefield.segmenter import Segmenter

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


@pytest.mark.skipif(not RUNS, reason="the extra export's packages are not there")
@pytest.mark.parametrize("kind", ["deeplab_largefov", "unet", "unet valid"])
def test_the_file_gives_the_same_scores_at_three_sizes(
    tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    network = (
        deeplab_largefov(3, width=2) if kind[0] == "d" else unet(3, 3, width=2, padding=("same", "valid")["v" in kind])
    )
    path = saved(tmp_path, network.eval())
    assert run(["export", str(path), "--out", str(tmp_path / "a.onnx"), "--check"]) == 0
    assert capsys.readouterr().out.count("scores differ by") == 3
    import onnx

    about = {each.key: each.value for each in onnx.load(tmp_path / "a.onnx").metadata_props}
    assert ClassList.from_dict(json.loads(about["classes"])) == CLASSES


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
