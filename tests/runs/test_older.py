"""Runs of older versions, whose recipe.yaml holds every key with its default."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from densefield.checks import InputError
from densefield.recipes import find_recipe
from densefield.runs.files import read_recipe, validated
from densefield.runs.folder import complete, go_on
from densefield.runs.recipe import Recipe

# As a version of November 2026 wrote it for the recipe below.
WRITTEN = """
name: old
network: {kind: unet, padding: same, width: 2}
refinement: null
weights: null
data: {kind: samples, size: 32, scenes: 8, held_out_size: 32, held_out_scenes: 2, digits: [0, 1]}
loss: {cross_entropy: 1.0, dice: 0.0, class_weights: none, border: 0.0, border_sigma: 5.0}
stages:
- trains: all
  epochs: 1
  batch_size: 4
  augmentation: {scale: null, rotation: 0.0, elastic: 0.0, crop: null, flip: false, dihedral: false, jitter: 0.0}
  optimizer: {kind: rmsprop, rate: 0.001, weight_decay: 0.0001, momentum: 0.9, alpha: 0.9, eps: null, groups: []}
  schedule: {kind: cosine, power: 0.9, every: 2000, gamma: 0.995, warmup: 0.05}
  patience: null
  validate_every: 1
mean: [0.5, 0.5, 0.5]
std: [0.25, 0.25, 0.25]
tile: null
seed: 0
precision: 32-true
channels_last: true
recalibrate: 0
"""
PLAIN: dict[str, Any] = {
    "name": "old",
    "network": {"kind": "unet", "padding": "same", "width": 2},
    "data": {"kind": "samples", "size": 32, "scenes": 8, "held_out_size": 32, "held_out_scenes": 2},
    "stages": [
        {
            "epochs": 1,
            "batch_size": 4,
            "optimizer": {"kind": "rmsprop", "rate": 1e-3},
            "schedule": {"kind": "cosine"},
        }
    ],
    "mean": [0.5, 0.5, 0.5],
    "std": [0.25, 0.25, 0.25],
}
CLASSES = {"classes": [{"index": 0, "name": "ground", "color": [0, 0, 0]}]}
DATA = {
    "classes": CLASSES,
    "training": {"images": 8, "names": "abc"},
    "validation": {"images": 2, "names": "def"},
}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """What an older version left of a finished run."""
    (tmp_path / "stage-1").mkdir()
    (tmp_path / "stage-1" / "done").write_text("this stage is complete\n")
    (tmp_path / "stage-1" / "last.ckpt").touch()
    (tmp_path / "recipe.yaml").write_text(WRITTEN)
    (tmp_path / "versions.json").write_text("{}")
    (tmp_path / "segmenter.json").write_text(json.dumps({"segmenter": {"classes": CLASSES}}))
    return tmp_path


def wanted() -> Recipe:
    return validated(PLAIN, "wanted")


def test_a_run_s_own_recipe_is_read_without_what_nothing_read_and_the_line_says_so(run: Path) -> None:
    lines: list[str] = []
    assert find_recipe(str(run / "recipe.yaml"), say=lines.append) == wanted()
    unread = ["loss.border_sigma", "stages.0.optimizer.momentum"]
    unread += [f"stages.0.schedule.{key}" for key in ("every", "gamma", "power")]
    assert lines == [
        f"{run / 'recipe.yaml'}: an older version wrote keys that nothing read; left out: {', '.join(unread)}"
    ]


def test_a_person_s_recipe_with_the_same_keys_is_refused(run: Path, tmp_path: Path) -> None:
    (run / "versions.json").unlink()
    with pytest.raises(InputError, match=r"schedule\.power: cosine does not take it"):
        read_recipe(run / "recipe.yaml")


def test_it_goes_on_and_is_a_run_of_today_from_then_on(run: Path) -> None:
    longer = validated({**PLAIN, "stages": [{**PLAIN["stages"][0], "epochs": 3}]}, "wanted")
    lines = go_on(run, longer, DATA)
    assert lines[0] == "stages.0.epochs was 1, now 3"
    assert "an older version, which noted no images" in lines[1]
    assert complete(run / "stage-1", 1)
    assert not complete(run / "stage-1", 3)
    assert go_on(run, longer, DATA) == []
    assert read_recipe(run / "recipe.yaml") == longer


def test_other_classes_than_its_segmenter_s_are_refused(run: Path) -> None:
    other = {"classes": [{"index": 0, "name": "sky", "color": [0, 0, 0]}]}
    with pytest.raises(InputError, match="class 0 was 'ground', now 'sky'"):
        go_on(run, wanted(), {**DATA, "classes": other})
    (run / "segmenter.json").write_text("{}")
    with pytest.raises(InputError, match="unreadable"):
        go_on(run, wanted(), DATA)


@pytest.mark.parametrize(
    ("part", "keys", "unread"),
    [
        ("optimizer", {"kind": "sgd", "momentum": 0.5, "alpha": 0.9, "eps": 1e-7}, {"alpha", "eps"}),
        ("optimizer", {"kind": "adamw", "momentum": 0.5, "alpha": 0.9, "eps": 1e-7}, {"alpha"}),
        ("schedule", {"kind": "step", "power": 1.0, "every": 7, "gamma": 0.5, "warmup": 0.2}, {"power", "warmup"}),
        ("schedule", {"kind": "constant", "every": 7}, {"every"}),
        ("augmentation", {"flip": True, "dihedral": True}, {"flip"}),
        ("augmentation", {"flip": True, "dihedral": False}, set()),
        ("loss", {"cross_entropy": 1.0, "border": 2.0, "border_sigma": 4.0}, set()),
        (
            "loss",
            {"cross_entropy": 0.0, "dice": 1.0, "class_weights": "median_frequency", "border": 2.0, "border_sigma": 4},
            {"class_weights", "border", "border_sigma"},
        ),
        (
            "refinement",
            {"kind": "embedding_filter", "trunk": "network", "width": 64, "batch_norm": True, "pair_window": 5},
            {"width", "batch_norm"},
        ),
        (
            "refinement",
            {"kind": "embedding_filter", "trunk": "own", "width": 8, "pair_loss": 0.0, "pair_labels": "target"},
            {"pair_labels"},
        ),
    ],
)
def test_only_what_was_not_read_is_left_out(run: Path, part: str, keys: dict[str, Any], unread: set[str]) -> None:
    plain = yaml.safe_load(WRITTEN)
    (plain if part in ("loss", "refinement") else plain["stages"][0])[part] = keys
    (run / "recipe.yaml").write_text(yaml.safe_dump(plain))
    lines: list[str] = []
    recipe = find_recipe(str(run / "recipe.yaml"), say=lines.append)
    where = part if part in ("loss", "refinement") else f"stages.0.{part}"
    named = lines[0].split("left out: ")[1].split(", ")
    assert {name for name in named if name.startswith(f"{where}.")} == {f"{where}.{key}" for key in unread}
    read: Any = getattr(recipe if part in ("loss", "refinement") else recipe.stages[0], part)
    if part == "refinement":  # whose short form is written out
        read = {
            **recipe.loss.model_dump(),
            **read.embedder.model_dump(),
            "kind": read.kind,
            "pair_loss": recipe.pair_loss,
        }
        read["trunk"] = "network" if recipe.refinement.embedder.kind == "shared_trunk" else "own"
    for key, value in keys.items():
        if key not in unread:
            assert (read[key] if isinstance(read, dict) else getattr(read, key)) == value
