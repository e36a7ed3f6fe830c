"""Whole runs of a tiny recipe: killed and resumed, interrupted, staged."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from rich.console import Console
from safetensors.torch import load_file

from densefield.checks import InputError
from densefield.runs.files import validated
from densefield.runs.recipe import Recipe
from densefield.runs.train import Machine, train
from densefield.segmenter import Segmenter
from densefield.training import Interrupted, SegmentationTask

MACHINE = Machine(accelerator="cpu", devices=1, workers=0, bar=False)
QUIET = Console(quiet=True)

TINY = {
    "name": "tiny",
    "network": {"kind": "unet", "padding": "same", "width": 4},  # has dropout, whose draws must resume too
    "data": {"kind": "samples", "size": 32, "scenes": 12, "held_out_size": 32, "held_out_scenes": 6},
    "stages": [
        {
            "epochs": 2,
            "batch_size": 3,
            "augmentation": {"flip": True, "jitter": 0.2, "scale": [0.8, 1.25], "crop": [32, 32]},
            "optimizer": {"kind": "rmsprop", "learning_rate": 1e-3},
            "schedule": {"kind": "exponential", "gamma": 0.5},
        }
    ],
}


def tiny(**changes: object) -> Recipe:
    return validated({**TINY, **changes}, "tiny")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "whole"
    train(tiny(), folder, machine=MACHINE, console=QUIET)
    return folder


def final_weights(folder: Path) -> dict[str, torch.Tensor]:
    state = torch.load(folder / "stage-1" / "last.ckpt", weights_only=True)["state_dict"]
    return dict(state)


def assert_same_run(one: Path, other: Path) -> None:
    tables = [(folder / "stage-1" / "metrics.csv").read_text() for folder in (one, other)]
    assert tables[0] == tables[1]
    first, second = final_weights(one), final_weights(other)
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


def test_a_run_leaves_what_it_promises(uninterrupted: Path) -> None:
    names = {path.name for path in uninterrupted.iterdir()}
    noted = {"recipe.yaml", "data.json", "versions.json", "best.json"}
    assert names == {*noted, "segmenter.safetensors", "segmenter.json", "stage-1"}
    assert {"last.ckpt", "metrics.csv", "tensorboard", "done"} == {
        p.name for p in (uninterrupted / "stage-1").iterdir()
    }
    assert validated(yaml.safe_load((uninterrupted / "recipe.yaml").read_text()), "") == tiny(
        mean=[0.5] * 3,
        std=[0.25] * 3,  # left out, the usual ones; a run has them as numbers
    )
    header, *rows = (uninterrupted / "stage-1" / "metrics.csv").read_text().split()
    assert {"epoch", "train/loss", "val/mean_iou"} <= set(header.split(","))
    assert rows
    labels = Segmenter.load(uninterrupted)(np.zeros((40, 50, 3), np.uint8))
    assert labels.shape == (40, 50)


def test_the_best_weights_are_those_of_the_best_validation(uninterrupted: Path) -> None:
    best = json.loads((uninterrupted / "best.json").read_text())
    lines = (uninterrupted / "stage-1" / "metrics.csv").read_text().split()
    column = lines[0].split(",").index("val/mean_iou")
    values = [float(cells[column]) for cells in (line.split(",") for line in lines[1:]) if cells[column]]
    assert best["mean_iou"] == pytest.approx(max(values), rel=1e-5)


def test_every_epoch_has_an_order_and_an_augmentation_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[int, list[float]] = {0: [], 1: []}
    step = SegmentationTask.training_step

    def noted(self: SegmentationTask, batches: list[dict[str, torch.Tensor]], batch_idx: int) -> torch.Tensor:
        seen[self.current_epoch] += [float(image.sum()) for batch in batches for image in batch["image"]]
        return step(self, batches, batch_idx)

    monkeypatch.setattr(SegmentationTask, "training_step", noted)
    train(tiny(), tmp_path / "run", machine=MACHINE, console=QUIET)
    assert len(seen[0]) == len(seen[1]) == 12
    assert not set(seen[0]) & set(seen[1])


def test_a_killed_run_resumes_to_the_same_weights(uninterrupted: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(yaml.safe_dump(TINY))
    folder = tmp_path / "killed"
    command = [
        sys.executable,
        "-c",
        "from densefield.cli import main; main()",
        "train",
        str(recipe),
        "--out",
        str(folder),
    ]
    command += ["--workers", "0", "--accelerator", "cpu", "--checkpoint-minutes", "0"]  # a checkpoint every step
    # Slow enough that the kill falls inside an epoch.
    slow = "import time, torch; step = torch.optim.RMSprop.step\n"
    slow += "torch.optim.RMSprop.step = lambda *a, **k: (step(*a, **k), time.sleep(0.3))[0]\n"
    command[2] = slow + command[2]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    last = folder / "stage-1" / "last.ckpt"
    deadline = time.monotonic() + 120
    while not last.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.4)
    process.send_signal(signal.SIGKILL)
    output = process.communicate()[0]
    assert last.exists(), output
    steps = torch.load(last, weights_only=True)["global_step"]
    assert 0 < steps < 8, "the run ended before it could be killed"
    train(tiny(), folder, resume=True, machine=MACHINE, console=QUIET)
    assert_same_run(uninterrupted, folder)


@contextlib.contextmanager
def signal_at_step(number: int) -> Iterator[None]:
    """Ctrl-C in the given step (from 0) of a run."""
    step = SegmentationTask.training_step

    def interrupted(self: SegmentationTask, batches: list[dict[str, torch.Tensor]], batch_idx: int) -> torch.Tensor:
        if self.global_step == number:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, batches, batch_idx)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SegmentationTask, "training_step", interrupted)
        yield


def test_ctrl_c_saves_and_the_run_goes_on(uninterrupted: Path, tmp_path: Path) -> None:
    with signal_at_step(5), pytest.raises(Interrupted) as stopped:
        train(tiny(), tmp_path / "run", machine=MACHINE, console=QUIET)
    assert stopped.value.status == 130
    assert Segmenter.load(tmp_path / "run")
    assert not (tmp_path / "run" / "stage-1" / "done").exists()
    train(tiny(), tmp_path / "run", resume=True, machine=MACHINE, console=QUIET)
    assert_same_run(uninterrupted, tmp_path / "run")


def test_a_second_run_does_not_overwrite_the_first(uninterrupted: Path) -> None:
    with pytest.raises(InputError, match="holds a run already"):
        train(tiny(), uninterrupted, machine=MACHINE, console=QUIET)


def test_a_finished_run_resumed_changes_nothing(uninterrupted: Path) -> None:
    before = load_file(uninterrupted / "segmenter.safetensors")
    value = train(tiny(), uninterrupted, resume=True, machine=MACHINE, console=QUIET)
    after = load_file(uninterrupted / "segmenter.safetensors")
    assert value == pytest.approx(json.loads((uninterrupted / "best.json").read_text())["mean_iou"])
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_second_stage_begins_with_the_best_of_the_first(tmp_path: Path) -> None:
    first = {**TINY["stages"][0], "epochs": 1}  # type: ignore[index]
    still = {**first, "optimizer": {"kind": "sgd", "learning_rate": 1e-30, "weight_decay": 0.0}, "patience": 1}
    train(tiny(stages=[first, still]), tmp_path, machine=MACHINE, console=QUIET)
    best = load_file(tmp_path / "segmenter.safetensors")
    last = torch.load(tmp_path / "stage-2" / "last.ckpt", weights_only=True)["state_dict"]
    for name, tensor in best.items():
        # Steps of 1e-30 are less than any weight's rounding; they show where a bias is 0.
        assert torch.allclose(tensor, last[name], rtol=0, atol=1e-20), name


def test_a_corrupt_checkpoint_is_one_clear_line(uninterrupted: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(uninterrupted, folder)
    (folder / "stage-1" / "done").unlink()
    (folder / "stage-1" / "last.ckpt").write_bytes(b"PK\x03\x04 cut short")
    with pytest.raises(InputError, match=r"last\.ckpt"):
        train(tiny(), folder, resume=True, machine=MACHINE, console=QUIET)


def test_two_processes_train_together(tmp_path: Path) -> None:
    recipe, script, folder = tmp_path / "tiny.yaml", tmp_path / "launch.py", tmp_path / "run"
    recipe.write_text(yaml.safe_dump(TINY))
    script.write_text("import sys\nfrom densefield.cli import main\nsys.exit(main())\n")  # each process runs it again
    command = [sys.executable, str(script), "train", str(recipe), "--out", str(folder), "--workers", "0"]
    command += ["--accelerator", "cpu", "--devices", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("best validation mean IoU") == 1
    # 12 images in batches of 3 on each of two processes: two steps an epoch
    rows = (folder / "stage-1" / "metrics.csv").read_text().split()[1:]
    assert [row.split(",")[:2] for row in rows] == [["1", "2"], ["2", "4"]]
    assert Segmenter.load(folder)
    # One process alone goes on at an epoch's end, in four steps an epoch.
    longer = tiny(stages=[{**TINY["stages"][0], "epochs": 3}])  # type: ignore[index]
    train(longer, folder, resume=True, machine=MACHINE, console=QUIET)
    rows = (folder / "stage-1" / "metrics.csv").read_text().split()[1:]
    assert [row.split(",")[:2] for row in rows] == [["1", "2"], ["2", "4"], ["3", "8"]]


def test_another_number_of_processes_does_not_go_on_within_an_epoch(tmp_path: Path) -> None:
    stops = signal_at_step(1)
    with stops, pytest.raises(Interrupted):
        train(tiny(), tmp_path / "run", machine=MACHINE, console=QUIET)
    last = tmp_path / "run" / "stage-1" / "last.ckpt"
    checkpoint = torch.load(last, weights_only=True)
    checkpoint["world_size"] = 2
    torch.save(checkpoint, last)
    with pytest.raises(InputError, match=r"saved within an epoch by 2 process\(es\); go on with as many devices"):
        train(tiny(), tmp_path / "run", resume=True, machine=MACHINE, console=QUIET)


def test_a_run_whose_patience_ended_when_it_was_stopped_has_nothing_left_to_do(tmp_path: Path) -> None:
    still = {**TINY["stages"][0], "epochs": 6, "optimizer": {"kind": "sgd", "learning_rate": 1e-30}, "patience": 1}  # type: ignore[index]
    train(tiny(stages=[still]), tmp_path / "whole", machine=MACHINE, console=QUIET)
    rows = (tmp_path / "whole" / "stage-1" / "metrics.csv").read_text().split()[1:]
    assert 1 < len(rows) < 6
    with signal_at_step(4 * len(rows) - 1), pytest.raises(Interrupted):
        train(tiny(stages=[still]), tmp_path / "run", machine=MACHINE, console=QUIET)
    train(tiny(stages=[still]), tmp_path / "run", resume=True, machine=MACHINE, console=QUIET)
    assert_same_run(tmp_path / "whole", tmp_path / "run")


def test_a_run_that_diverges_stops_with_one_line_and_keeps_nothing_of_it(tmp_path: Path) -> None:
    wild = {**TINY["stages"][0], "optimizer": {"kind": "sgd", "learning_rate": 1e6}, "schedule": {}}  # type: ignore[index]
    with pytest.raises(InputError, match=r"stage 1/1 epoch 1: .*(NaN|nan|inf).*\(rate 1\.0e\+06, precision 32-true\)"):
        train(tiny(stages=[wild]), tmp_path / "run", machine=MACHINE, console=QUIET)
    assert not (tmp_path / "run" / "segmenter.safetensors").exists()


def test_a_recalibration_that_cannot_be_is_said_before_training(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="recalibrate: this network has no batch normalisation; leave recalibrate out"):
        train(tiny(recalibrate=2), tmp_path / "run", machine=MACHINE, console=QUIET)
    pooled = {"kind": "pspnet101", "width": 1}
    with pytest.raises(InputError, match="recalibrate: a layer is normalized over a single value a channel; leave rec"):
        train(tiny(network=pooled, recalibrate=2), tmp_path / "run", machine=MACHINE, console=QUIET)
    assert not (tmp_path / "run").exists()


def test_a_run_goes_on_without_the_weights_that_it_began_with(uninterrupted: Path, tmp_path: Path) -> None:
    shutil.copytree(uninterrupted, tmp_path / "start")
    begun = tiny(weights=str(tmp_path / "start"))
    with signal_at_step(5), pytest.raises(Interrupted):
        train(begun, tmp_path / "run", machine=MACHINE, console=QUIET)
    shutil.rmtree(tmp_path / "start")
    train(begun, tmp_path / "run", resume=True, machine=MACHINE, console=QUIET)


def test_weights_of_other_classes_are_named(uninterrupted: Path, tmp_path: Path) -> None:
    other = tiny(data={**TINY["data"], "digits": [3, 4]}, weights=str(uninterrupted))  # type: ignore[dict-item]
    with pytest.raises(InputError, match=r"knows 3 classes \(background, 0, 1\), the data has 3 \(background, 3, 4\)"):
        train(other, tmp_path / "run", machine=MACHINE, console=QUIET)
    scaled = tiny(weights=str(uninterrupted), std=[0.5, 0.5, 0.5])
    with pytest.raises(InputError, match=r"was trained with std \[0.25, 0.25, 0.25\], the recipe has \[0.5, "):
        train(scaled, tmp_path / "run", machine=MACHINE, console=QUIET)


def test_a_killed_loader_worker_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch.utils.data import get_worker_info

    from densefield.data import SampleScenes

    read = SampleScenes.__getitem__

    def killed(self: SampleScenes, index: int) -> object:
        if get_worker_info() is not None:
            os.kill(os.getpid(), signal.SIGKILL)  # as a system without memory does
        return read(self, index)

    monkeypatch.setattr(SampleScenes, "__getitem__", killed)
    with pytest.raises(InputError, match=r"stage 1/1: a reading process has ended .*try fewer --workers, or 0"):
        train(tiny(), tmp_path / "run", machine=MACHINE._replace(workers=1), console=QUIET)


def test_a_batch_larger_than_the_data_is_said(tmp_path: Path) -> None:
    console = Console(record=True, file=io.StringIO())
    many = {**TINY["stages"][0], "epochs": 1, "batch_size": 50}  # type: ignore[index]
    train(tiny(stages=[many]), tmp_path / "run", machine=MACHINE, console=console)
    assert "stage 1/1: batches of 12 in place of 50, as there are no more" in " ".join(console.export_text().split())


def test_a_later_stage_that_cannot_be_is_said_before_the_first_one_trains(tmp_path: Path) -> None:
    first = TINY["stages"][0]  # type: ignore[index]
    for stage, line in (
        ({**first, "trains": "refinement"}, "wanted a refinement in the recipe"),
        ({**first, "optimizer": {"groups": [{"pattern": "^head"}]}}, r"parameter group '\^head' matches no parameter"),
    ):
        with pytest.raises(InputError, match=line):
            train(tiny(stages=[first, stage]), tmp_path / "run", machine=MACHINE, console=QUIET)
    assert not (tmp_path / "run").exists()


def test_a_batch_of_one_that_leaves_a_layer_a_single_value_is_one_line(tmp_path: Path) -> None:
    single = {**TINY["stages"][0], "batch_size": 1}  # type: ignore[index]
    with pytest.raises(
        InputError, match=r"stage 1/1: a layer is normalized over a single .*; take batch_size 2 or more"
    ):
        train(
            tiny(network={"kind": "deconvnet", "width": 1}, stages=[single]),
            tmp_path / "run",
            machine=MACHINE,
            console=QUIET,
        )
