"""Who may write into a run's folder, and what goes on there."""

from __future__ import annotations

import io
import json
import os
import signal
import warnings
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from densefield.checks import InputError
from densefield.runs.files import read_recipe, validated
from densefield.runs.folder import begin, best_so_far, complete, data_facts, go_on, has_learned, held
from densefield.runs.machine import Machine
from densefield.runs.recipe import Recipe
from densefield.runs.train import train
from densefield.training import SegmentationTask

MACHINE = Machine(accelerator="cpu", devices=1, workers=0, bar=False)
STAGE = {"epochs": 2, "batch_size": 2, "schedule": {"kind": "exponential", "gamma": 0.5}}
PLAIN: dict[str, Any] = {
    "name": "tiny",
    "network": {"kind": "unet", "padding": "same", "width": 1},
    "data": {"kind": "folder", "root": "here"},
    "stages": [STAGE, STAGE],
}


def class_list(*names: str) -> dict[str, Any]:
    return {"classes": [{"index": i, "name": name, "color": [i, i, i]} for i, name in enumerate(names)]}


DATA = {
    "classes": class_list("sky", "tree", "car"),
    "training": {"images": 4, "names": "abc"},
    "validation": {"images": 2, "names": "def"},
}


def recipe(**changes: Any) -> Recipe:
    return validated({**PLAIN, **changes}, "tiny")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run whose first stage has learned something."""
    begin(tmp_path / "run", recipe(), DATA)
    (tmp_path / "run" / "stage-1").mkdir()
    (tmp_path / "run" / "stage-1" / "last.ckpt").touch()
    return tmp_path / "run"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a process of its own, quickly")
def test_what_cannot_be_a_folder_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "odd" / ".lock").mkdir(parents=True)
    for place, message in {
        "file": r"file: is a file; choose another --out",
        "file/run": r"run: cannot be a run's folder \(Not a directory\); choose another --out",
        "odd": r"odd: cannot be a run's folder \(Is a directory\)",
        "n" * 300: r"n: cannot be a run's folder \(File name too long\)",
    }.items():
        with pytest.raises(InputError, match=message), held(tmp_path / place):
            pass


def test_a_folder_is_held_by_one_process_until_it_dies(tmp_path: Path) -> None:
    told, tell = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that forking beside torch's threads is risky
        other = os.fork()
    if other == 0:
        with held(tmp_path):
            os.write(tell, b"held")
            signal.pause()
    try:
        assert os.read(told, 4) == b"held"
        with pytest.raises(InputError, match=rf"{tmp_path.name}: process {other} trains there; wait"), held(tmp_path):
            pass
    finally:
        os.kill(other, signal.SIGKILL)
        os.waitpid(other, 0)
    with held(tmp_path):
        assert (tmp_path / ".lock").read_text() == str(os.getpid())
    assert not (tmp_path / ".lock").exists()


def test_what_a_killed_run_left_half_written_is_swept_and_nothing_else(folder: Path) -> None:
    ours = [folder / ".segmenter.safetensors.x1.part", folder / "stage-1" / ".last.ckpt.x2.part"]
    others = [folder / ".report-val.html.x3.part", folder / "stage-1" / "notes.part"]
    for path in (*ours, *others):
        path.touch()
    with held(folder):
        assert not any(path.exists() for path in ours)
    assert all(path.exists() for path in others)


def test_the_same_request_goes_on_and_changes_nothing(folder: Path) -> None:
    before = (folder / "recipe.yaml").read_bytes()
    assert go_on(folder, recipe(), DATA) == []
    assert (folder / "recipe.yaml").read_bytes() == before


def test_more_epochs_and_another_place_of_the_data_are_taken_over(folder: Path) -> None:
    more = recipe(stages=[{**STAGE, "epochs": 5}, STAGE], data={"kind": "folder", "root": "there"})
    assert go_on(folder, more, DATA) == ["data.root was here, now there", "stages.0.epochs was 2, now 5"]
    assert read_recipe(folder / "recipe.yaml") == more


def facts(**changes: Any) -> dict[str, Any]:
    return {**DATA, **changes}


def names(*listed: str) -> dict[str, Any]:
    return facts(classes=class_list(*listed))


@pytest.mark.parametrize(
    ("request_", "data", "lines"),
    [
        (recipe(stages=[{**STAGE, "epochs": 1}, STAGE]), DATA, ["stages.0.epochs was 2, now 1"]),
        (recipe(stages=[STAGE]), DATA, ["stages.1.epochs was 2, now not there"]),
        (recipe(seed=3), DATA, ["seed was 0, now 3"]),
        (recipe(name="other"), DATA, ["name was tiny, now other"]),
        (
            recipe(network={"kind": "deeplab_largefov", "width": 4}),
            DATA,
            ["network.kind was unet, now deeplab_largefov", "network.padding was same, now not there"],
        ),
        (recipe(loss={"dice": 1.0}), DATA, ["loss.dice was 0.0, now 1.0"]),
        (recipe(), names("sky", "car", "tree"), ["class 1 was 'tree', now 'car', 2 was 'car', now 'tree'"]),
        (recipe(), names("sky", "tree", "car", "bus"), ["classes were 3 (sky, tree, car), now 4"]),
        (
            recipe(),
            facts(training={"images": 3, "names": "xyz"}, validation={"images": 2, "names": "xyz"}),
            ["training images were 4, now 3", "the validation images are others"],
        ),
        (
            recipe(),
            facts(classes={**class_list("sky", "tree", "car"), "ignore_index": 254}),
            ["the class list's colors or label values"],
        ),
    ],
)
def test_every_other_difference_is_named_and_refused(
    folder: Path, request_: Recipe, data: dict[str, Any], lines: list[str]
) -> None:
    before = (folder / "recipe.yaml").read_bytes()
    with pytest.raises(InputError, match="cannot go on with another request: ") as caught:
        go_on(folder, request_, data)
    for line in lines:
        assert line in str(caught.value)
    assert f"densefield train {folder / 'recipe.yaml'} --out {folder} --resume" in str(caught.value)
    assert (folder / "recipe.yaml").read_bytes() == before


def test_a_stage_behind_which_another_has_begun_cannot_be_longer(folder: Path) -> None:
    (folder / "stage-2").mkdir()
    (folder / "stage-2" / "last.ckpt").touch()
    with pytest.raises(InputError, match=r"stages\.0\.epochs was 2, now 5"):
        go_on(folder, recipe(stages=[{**STAGE, "epochs": 5}, STAGE]), DATA)
    assert go_on(folder, recipe(stages=[STAGE, {**STAGE, "epochs": 5}]), DATA) == ["stages.1.epochs was 2, now 5"]


def test_what_is_noted_of_the_data_tells_names_and_classes() -> None:
    built = validated({**PLAIN, "data": {"kind": "samples", "scenes": 3, "held_out_scenes": 2}}, "")
    noted = data_facts(built.pairs("train"), built.pairs("val"))
    assert json.loads(json.dumps(noted)) == noted
    assert [entry["name"] for entry in noted["classes"]["classes"]] == ["background", "0", "1"]
    assert (noted["training"]["images"], noted["validation"]["images"]) == (3, 2)
    assert noted["training"]["names"] != noted["validation"]["names"]


@pytest.mark.parametrize("name", ["best.json", "data.json", "stage-1/done", "recipe.yaml"])
def test_a_damaged_file_is_named(folder: Path, name: str) -> None:
    (folder / name).write_bytes(b"\0\1garbage")
    with pytest.raises(InputError, match=name.split("/")[-1]):
        best_so_far(folder), complete(folder / "stage-1", 2), go_on(folder, recipe(), DATA)


def samples(**changes: Any) -> Recipe:
    data = {"kind": "samples", "size": 32, "scenes": 4, "held_out_size": 32, "held_out_scenes": 1}
    return recipe(data=data, **changes)


@pytest.mark.parametrize("resume", [False, True])
def test_a_run_that_failed_at_its_first_step_does_not_hold_its_folder(
    tmp_path: Path, resume: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: SegmentationTask, batch: Any, batch_idx: int) -> None:
        raise InputError("no such luck")

    console = Console(record=True, quiet=True)
    with monkeypatch.context() as patch:
        patch.setattr(SegmentationTask, "training_step", broken)
        with pytest.raises(InputError, match="no such luck"):
            train(samples(), tmp_path / "run", machine=MACHINE, console=console)
    assert not has_learned(tmp_path / "run")
    mended = samples(stages=[{**STAGE, "epochs": 1}])
    train(mended, tmp_path / "run", resume=resume, machine=MACHINE, console=console)
    begun = read_recipe(tmp_path / "run" / "recipe.yaml")
    assert begun == mended.changed(mean=begun.mean, std=begun.std)
    assert has_learned(tmp_path / "run")


def test_a_finished_run_goes_on_for_more_epochs_as_if_it_had_never_ended(tmp_path: Path) -> None:
    for epochs, name in ((3, "whole"), (1, "run"), (3, "run")):
        longer = samples(stages=[{**STAGE, "epochs": epochs}])
        train(longer, tmp_path / name, resume=epochs == 3, machine=MACHINE, console=Console(quiet=True))
    first, second = (tmp_path / name for name in ("whole", "run"))
    for name in ("stage-1/metrics.csv", "stage-1/done", "best.json", "recipe.yaml"):
        assert (first / name).read_bytes() == (second / name).read_bytes(), name


def test_resume_where_nothing_was_begun_says_so_and_begins(tmp_path: Path) -> None:
    console = Console(record=True, file=io.StringIO(), soft_wrap=True)
    one = samples(stages=[{**STAGE, "epochs": 1}])
    train(one, tmp_path / "run", resume=True, machine=MACHINE, console=console)
    assert f"{tmp_path / 'run'}: there is no run to go on with; it begins\n" in console.export_text()
    train(one, tmp_path / "run", resume=True, machine=MACHINE, console=console)
    assert "it begins" not in console.export_text()


@pytest.mark.parametrize("resume", [False, True])
def test_weights_of_nobody_knows_what_are_not_trained_on(folder: Path, resume: bool) -> None:
    (folder / "recipe.yaml").unlink()
    with pytest.raises(InputError, match=r"holds weights or checkpoints, but no recipe\.yaml that says"):
        train(samples(), folder, resume=resume, machine=MACHINE, console=Console(quiet=True))
