"""Stages as published ones are: steps in place of epochs, several batches a step, batch normalisation that stays."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from torch import Tensor

from densefield.checks import InputError
from densefield.runs.files import validated
from densefield.runs.machine import Machine
from densefield.runs.recipe import Recipe
from densefield.runs.train import train
from densefield.training import SegmentationTask

MACHINE = Machine(accelerator="cpu", devices=1, workers=0, bar=False)
QUIET = Console(quiet=True)
SGD = {"kind": "sgd", "learning_rate": 0.1, "weight_decay": 0.0}


def recipe(stage: dict[str, Any], **changes: Any) -> Recipe:
    plain = {
        "name": "tiny",
        "network": {"kind": "unet", "padding": "same", "width": 2, "dropout": 0.0},
        "data": {"kind": "samples", "size": 32, "scenes": 12, "held_out_size": 32, "held_out_scenes": 2},
        "stages": [{"optimizer": SGD, **stage}],
    }
    return validated({**plain, **changes}, "tiny")


def weights(folder: Path) -> dict[str, Tensor]:
    return dict(torch.load(folder / "stage-1" / "last.ckpt", weights_only=True)["state_dict"])


def trained(folder: Path, stage: dict[str, Any], **changes: Any) -> dict[str, Tensor]:
    train(recipe(stage, **changes), folder, machine=MACHINE, console=QUIET)
    return weights(folder)


@pytest.mark.parametrize("length", [{"epochs": 2}, {"steps": 4}])
def test_accumulated_batches_are_one_large_batch(tmp_path: Path, length: dict[str, int]) -> None:
    """Every pixel of the samples is labelled, so that the mean of two means is the mean over both."""
    together = trained(tmp_path / "one", {**length, "batch_size": 6})
    apart = trained(tmp_path / "two", {**length, "batch_size": 2, "accumulate": 3})
    for name, tensor in together.items():
        torch.testing.assert_close(apart[name], tensor, rtol=1e-3, atol=1e-5)
    rows = [(tmp_path / run / "stage-1" / "metrics.csv").read_text().splitlines() for run in ("one", "two")]
    assert [row.split(",")[:2] for row in rows[0]] == [row.split(",")[:2] for row in rows[1]]
    loss = rows[0][0].split(",").index("train/loss")
    found = [[float(row.split(",")[loss]) for row in one[1:]] for one in rows]
    assert found[0] == pytest.approx(found[1], rel=1e-4)


def test_epochs_of_all_images_in_one_step_are_so_many_steps(tmp_path: Path) -> None:
    by_epochs = trained(tmp_path / "epochs", {"epochs": 4, "batch_size": 12})
    by_steps = trained(tmp_path / "steps", {"steps": 4, "batch_size": 12, "validate_every": 2})
    assert all(torch.equal(tensor, by_steps[name]) for name, tensor in by_epochs.items())
    rows = (tmp_path / "steps" / "stage-1" / "metrics.csv").read_text().split()[1:]
    assert [row.split(",")[:2] for row in rows] == [["1", "2"], ["2", "4"]]


def test_schedules_count_steps_and_epochs_of_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rates: list[float] = []
    step = SegmentationTask.training_step

    def noted(self: SegmentationTask, batches: list[dict[str, Tensor]], batch_idx: int) -> Tensor:
        rates.append(self.trainer.optimizers[0].param_groups[0]["lr"])
        return step(self, batches, batch_idx)

    monkeypatch.setattr(SegmentationTask, "training_step", noted)
    stage = {"steps": 6, "validate_every": 3, "batch_size": 3, "accumulate": 2}
    trained(tmp_path / "poly", {**stage, "schedule": {"kind": "poly"}})
    assert rates == pytest.approx([0.1 * (1 - done / 6) ** 0.9 for done in range(6)])
    rates.clear()
    trained(tmp_path / "exponential", {**stage, "schedule": {"kind": "exponential", "gamma": 0.5}})
    assert rates == pytest.approx([0.1, 0.1, 0.05, 0.05, 0.025, 0.025])  # two steps see all images


def test_more_steps_go_on_as_if_they_had_been_asked_for(tmp_path: Path) -> None:
    stage = {"validate_every": 2, "batch_size": 2, "accumulate": 2, "augmentation": {"jitter": 0.2}}
    whole = trained(tmp_path / "whole", {**stage, "steps": 6})
    trained(tmp_path / "run", {**stage, "steps": 4})
    train(recipe({**stage, "steps": 6}), tmp_path / "run", resume=True, machine=MACHINE, console=QUIET)
    assert all(torch.equal(tensor, whole[name]) for name, tensor in weights(tmp_path / "run").items())
    assert (tmp_path / "run" / "stage-1" / "done").read_text() == "6 steps\n"
    with pytest.raises(InputError, match=r"stages\.0\.steps was 6, now 4"):
        train(recipe({**stage, "steps": 4}), tmp_path / "run", resume=True, machine=MACHINE, console=QUIET)


def test_more_steps_that_would_move_the_validations_are_refused(tmp_path: Path) -> None:
    trained(tmp_path, {"steps": 2})
    line = r"stages\.0\.steps was 2, now 4, so that validations would fall on other steps"
    with pytest.raises(InputError, match=line):
        train(recipe({"steps": 4}), tmp_path, resume=True, machine=MACHINE, console=QUIET)


def test_frozen_batch_normalisation_stays_also_behind_a_validation(tmp_path: Path) -> None:
    network = {"kind": "unet", "padding": "same", "width": 2, "batch_norm": True}
    start = trained(tmp_path / "start", {"steps": 1}, network=network)
    again = {"weights": str(tmp_path / "start"), "network": network}
    frozen = trained(tmp_path / "frozen", {"steps": 4, "validate_every": 2, "freeze_batch_norm": True}, **again)
    moving = trained(tmp_path / "moving", {"steps": 4, "validate_every": 2}, **again)
    norms = {name.rpartition(".")[0] for name in start if name.endswith("running_mean")}
    assert norms
    for name, tensor in start.items():
        stays = name.rpartition(".")[0] in norms
        assert torch.equal(frozen[name], tensor) == stays, name
        assert not torch.equal(moving[name], tensor), name


@pytest.mark.parametrize(
    ("stage", "line"),
    [
        ({}, "epochs: wanted them, or steps in their place"),
        ({"epochs": 2, "steps": 3}, "epochs: steps stand beside it; leave one of them out"),
        ({"steps": 10, "validate_every": 4}, "validate_every: wanted a number that goes into 10 steps, received 4"),
        ({"steps": 0}, r"stages\.0\.steps"),
        ({"steps": 2, "accumulate": 0}, r"stages\.0\.accumulate"),
        (
            {"steps": 2, "freeze_batch_norm": True, "trains": "refinement"},
            "freeze_batch_norm: the network stands still",
        ),
    ],
)
def test_what_says_no_length_or_two_is_one_line(stage: dict[str, Any], line: str) -> None:
    with pytest.raises(InputError, match=line) as error:
        recipe(stage)
    assert "\n" not in str(error.value)


def test_what_cannot_be_done_is_said_before_it_begins(tmp_path: Path) -> None:
    line = r"stages\.0\.accumulate: wanted at most the 4 batches of an epoch, received 5"
    with pytest.raises(InputError, match=line):
        trained(tmp_path / "run", {"epochs": 1, "accumulate": 5})
    with pytest.raises(InputError, match="freeze_batch_norm: this network has no batch normalisation; leave it out"):
        trained(tmp_path / "run", {"epochs": 1, "freeze_batch_norm": True})
    assert not (tmp_path / "run").exists()


def test_a_loss_that_is_no_number_names_the_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SegmentationTask, "training_step", lambda self, *_: next(self.parameters()).sum() * torch.nan)
    with pytest.raises(InputError, match=r"stage 1/1 step 1: the loss is nan \(rate 1\.0e-01"):
        trained(tmp_path / "run", {"steps": 4})
