"""Signals at any moment of a run: everything is saved, the status says which, and going on ends with the same bits."""

from __future__ import annotations

import json
import os
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from densefield.cli.app import run
from densefield.runs import train as train_module
from densefield.runs.files import validated
from densefield.runs.folder import has_learned
from densefield.runs.machine import Machine
from densefield.runs.recipe import Recipe
from densefield.runs.train import train
from densefield.segmenter import Segmenter
from densefield.training import Interrupted, MetricsTable, SegmentationTask

MACHINE = Machine(accelerator="cpu", devices=1, workers=0, bar=False)
QUIET = Console(quiet=True)
STAGE = {
    "epochs": 2,
    "batch_size": 3,
    "augmentation": {"jitter": 0.2},
    "optimizer": {"kind": "rmsprop"},
    "schedule": {"kind": "cosine"},
    "patience": 5,
}
PLAIN: dict[str, Any] = {
    "name": "tiny",
    "network": {"kind": "unet", "padding": "same", "width": 1},
    "data": {"kind": "samples", "size": 32, "scenes": 6, "held_out_size": 32, "held_out_scenes": 2},
    "stages": [STAGE, {**STAGE, "epochs": 1}],
}
# Steps in place of epochs, each of two batches; rounds of two steps begin and end within an epoch of three batches.
BY_STEPS = {key: value for key, value in STAGE.items() if key != "epochs"} | {"batch_size": 2, "accumulate": 2}
STEPS: dict[str, Any] = {
    **PLAIN,
    "stages": [{**BY_STEPS, "steps": 4, "validate_every": 2}, {**BY_STEPS, "steps": 2}],
}
# What a run calls, from its beginning to its end: a signal may fall into any of these calls.
MOMENTS: tuple[tuple[Any, str], ...] = (
    (train_module, "data_facts"),
    (train_module, "counted_class_weights"),
    (train_module, "complete"),
    (train_module, "_take"),
    (SegmentationTask, "configure_optimizers"),
    (SegmentationTask, "on_train_batch_start"),
    (SegmentationTask, "training_step"),
    (SegmentationTask, "on_validation_epoch_start"),
    (SegmentationTask, "validation_step"),
    (SegmentationTask, "on_validation_epoch_end"),
    (Segmenter, "save"),
    (MetricsTable, "on_train_epoch_end"),
)


def recipe(plain: dict[str, Any]) -> Recipe:
    return validated(plain, "tiny")


class Whole(NamedTuple):
    """A run that nobody stopped, and how many moments it has."""

    plain: dict[str, Any]
    folder: Path
    moments: int


def count_moments(patch: pytest.MonkeyPatch, act: Callable[[int], None]) -> None:
    """Call `act` with the number of the moment before each of MOMENTS."""
    number = iter(range(1_000_000))

    def watched(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            act(next(number))
            return function(*arguments, **named)

        return call

    for owner, name in MOMENTS:
        patch.setattr(owner, name, watched(getattr(owner, name)))


@pytest.fixture(scope="module", params=[PLAIN, STEPS], ids=["epochs", "steps"])
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    folder, moments = tmp_path_factory.mktemp("runs") / "whole", [0]
    with pytest.MonkeyPatch.context() as patch:
        count_moments(patch, lambda number: moments.append(number))
        train(recipe(request.param), folder, machine=MACHINE, console=QUIET)
    return Whole(request.param, folder, max(moments) + 1)


def assert_same(one: Path, other: Path) -> None:
    for stage in ("stage-1", "stage-2"):
        assert (one / stage / "metrics.csv").read_bytes() == (other / stage / "metrics.csv").read_bytes()
        first, second = (torch.load(f / stage / "last.ckpt", weights_only=True)["state_dict"] for f in (one, other))
        assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())
    assert (one / "best.json").read_bytes() == (other / "best.json").read_bytes()
    first, second = (load_file(folder / "segmenter.safetensors") for folder in (one, other))
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())


def stopped_and_resumed(whole: Whole, folder: Path, moment: int, number: int, patch: pytest.MonkeyPatch) -> None:
    with patch.context() as within:
        count_moments(within, lambda now: os.kill(os.getpid(), number) if now == moment else None)
        with pytest.raises(Interrupted) as stop:
            train(recipe(whole.plain), folder, machine=MACHINE, console=QUIET)
    assert stop.value.status == 128 + number
    assert stop.value.saved
    assert not list(folder.rglob("*.part"))
    assert not (folder / ".lock").exists()
    train(recipe(whole.plain), folder, resume=has_learned(folder), machine=MACHINE, console=QUIET)
    assert_same(whole.folder, folder)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("draw", range(3))
def test_a_signal_at_a_random_moment_loses_nothing(
    whole: Whole, tmp_path: Path, draw: int, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    moment = random.Random(f"{draw} {number}").randrange(whole.moments)
    stopped_and_resumed(whole, tmp_path / "run", moment, number, monkeypatch)


def at(patch: pytest.MonkeyPatch, owner: Any, name: str, call: int, number: int) -> None:
    """Send a signal before the given call (from 0) of a function."""
    calls, function = iter(range(1_000_000)), getattr(owner, name)

    def signalled(*arguments: Any, **named: Any) -> Any:
        if next(calls) == call:
            os.kill(os.getpid(), number)
        return function(*arguments, **named)

    patch.setattr(owner, name, signalled)


@pytest.mark.parametrize(
    ("owner", "name", "call"),
    [
        (SegmentationTask, "training_step", 0),
        (SegmentationTask, "training_step", 1),  # an epoch's last
        (SegmentationTask, "validation_step", 0),
        (SegmentationTask, "validation_step", 3),  # the second epoch's last image
        (train_module, "_take", 0),  # between the stages
    ],
)
def test_sigterm_ends_the_command_with_143_and_resuming_with_the_same_run(
    whole: Whole,
    tmp_path: Path,
    owner: Any,
    name: str,
    call: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path, folder = tmp_path / "tiny.yaml", tmp_path / "run"
    path.write_text(json.dumps(whole.plain))
    command = ["train", str(path), "--out", str(folder), "--no-bar", "--workers", "0", "--accelerator", "cpu"]
    with monkeypatch.context() as patch:
        at(patch, owner, name, call, signal.SIGTERM)
        assert run(command) == 143
    said = " ".join(capsys.readouterr().out.split())
    assert f"stopped by SIGTERM; saved. Go on with: densefield train {folder}/recipe.yaml --out {folder} --res" in said
    assert run(["train", str(folder / "recipe.yaml"), *command[2:], "--resume"]) == 0
    assert_same(whole.folder, folder)


def test_a_signal_before_the_first_step_has_nothing_to_save(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path, folder = tmp_path / "tiny.yaml", tmp_path / "run"
    path.write_text(json.dumps(PLAIN))
    at(monkeypatch, train_module, "counted_class_weights", 0, signal.SIGTERM)
    command = ["train", str(path), "--out", str(folder), "--no-bar", "--workers", "0", "--accelerator", "cpu"]
    assert run(command) == 143
    assert "stopped by SIGTERM before anything was learned" in capsys.readouterr().out
    assert run(command) == 0
    assert "it begins anew" in capsys.readouterr().out


def test_a_second_ctrl_c_ends_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at(monkeypatch, SegmentationTask, "training_step", 3, signal.SIGINT)
    at(monkeypatch, SegmentationTask, "training_step", 3, signal.SIGINT)
    with pytest.raises(Interrupted) as stop:
        train(recipe(PLAIN), tmp_path / "run", machine=MACHINE, console=QUIET)
    assert (stop.value.status, stop.value.saved) == (130, False)
    assert has_learned(tmp_path / "run")
