"""--trust: code that a recipe or a saved model names runs only where the person names it too."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from densefield.checks import InputError
from densefield.cli.app import application
from densefield.segmenter import Segmenter

TARGET = "own_networks:coarse"
# The import itself leaves a mark: what is refused must not even have been imported.
MODULE = """
from pathlib import Path
from torch import nn
Path("imported").touch()

def coarse(num_classes, in_channels):
    return nn.Conv2d(in_channels, num_classes, 4, stride=4)

def other(num_classes, in_channels):
    return nn.Conv2d(in_channels, num_classes, 4, stride=4)
"""
RECIPE = {
    "name": "own",
    "network": {"kind": "python", "target": TARGET},
    "refinement": {"kind": "dense_crf", "iterations": 1},
    "data": {"kind": "samples", "size": 32, "scenes": 4, "held_out_size": 32, "held_out_scenes": 2},
    "stages": [{"epochs": 1, "batch_size": 4}],
}


def command(*words: str) -> Any:
    return application(words)(list(words), exit_on_error=False, result_action="return_value")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a person's module, a recipe and its run, trained from there."""
    home = tmp_path_factory.mktemp("own")
    (home / "own_networks.py").write_text(MODULE)
    (home / "own.yaml").write_text(yaml.safe_dump(RECIPE))
    Image.fromarray(np.full((9, 12, 3), 90, np.uint8)).save(home / "photo.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        patch.setattr(sys, "path", list(sys.path))
        command("train", "own.yaml", "--trust", TARGET, "--out", "run", "--accelerator", "cpu", "--workers", "0")
    return home


@pytest.fixture
def here(trained: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(trained)
    monkeypatch.setattr(sys, "path", list(sys.path))
    sys.modules.pop("own_networks", None)
    (trained / "imported").unlink(missing_ok=True)
    return trained


COMMANDS = {
    "train": ("train", "own.yaml", "--out", "other"),
    "resume": ("train", "run/recipe.yaml", "--out", "run", "--resume"),
    "evaluate": ("evaluate", "run"),
    "predict": ("predict", "run", "photo.png", "--out", "labels"),
    "export": ("export", "run", "--out", "a.onnx", "--without-refinement"),
}


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("trust", [(), ("--trust", "own_networks:other")])
def test_without_the_right_word_nothing_is_imported(here: Path, name: str, trust: tuple[str, ...]) -> None:
    told = "; trusted was own_networks:other, and nothing was run" if trust else f": --trust {TARGET}, in Python"
    with pytest.raises(InputError, match=f"its network is code, {TARGET}, and that runs only .*{told}"):
        command(*COMMANDS[name], *trust)
    assert not (here / "imported").exists()
    assert "own_networks" not in sys.modules
    assert not [path for path in ("other", "labels", "a.onnx") if (here / path).exists()]


@pytest.mark.parametrize("name", ["resume", "evaluate", "predict"])
def test_with_it_the_command_does_its_work(here: Path, name: str) -> None:
    assert command(*COMMANDS[name], "--trust", TARGET) == 0
    assert (here / "imported").exists()


def test_in_python_the_word_or_the_network_itself_is_handed_over(here: Path) -> None:
    handed = Segmenter.load("run", network=torch.nn.Conv2d(3, 3, 4, stride=4))
    assert not (here / "imported").exists()
    sys.path.append(str(here))
    labels = Segmenter.load("run", trust=TARGET)("photo.png")
    assert torch.equal(labels, handed("photo.png"))


def test_an_embedding_in_a_file_names_no_code(here: Path) -> None:
    text = (here / "run" / "segmenter.json").read_text()
    words = (
        '{"kind": "embedding_filter", "embedder": {"kind": "python", "target": "own_networks:coarse"}, "filter": {}}'
    )
    start = text.index('"refinement": ') + len('"refinement": ')
    (here / "run" / "segmenter.json").write_text(text[:start] + words + "}}")
    try:
        with pytest.raises(InputError, match="there is no 'python'"):
            Segmenter.load("run", network=torch.nn.Conv2d(3, 3, 4, stride=4))
    finally:
        (here / "run" / "segmenter.json").write_text(text)
    assert not (here / "imported").exists()
