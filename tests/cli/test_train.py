"""`densefield train` as a person calls it; what a run does is held in tests/runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from densefield.cli.app import run
from densefield.recipes import recipe_names
from densefield.runs.files import read_recipe

CPU = ("--accelerator", "cpu", "--workers", "0", "--no-bar")
SMALL = ("--network.width", "4", "--data.scenes", "2", "--stages.0.epochs", "1", "--stages.0.batch_size", "2")


def test_a_built_in_recipe_takes_flags_and_the_run_keeps_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    assert run(["train", "sample_demo_quick", *SMALL, "--out", str(folder), *CPU]) == 0
    assert str(folder / "segmenter.safetensors") in "".join(capsys.readouterr().out.split("\n"))
    assert read_recipe(folder / "recipe.yaml").stages[0].epochs == 1
    assert run(["train", "sample_demo_quick", *SMALL, "--out", str(folder), *CPU]) == 2
    assert "holds a run already" in " ".join(capsys.readouterr().err.split())


def test_an_unknown_recipe_is_one_line_with_the_names_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", "no_such_recipe"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert said.startswith("error: ")
    assert all(name in said for name in recipe_names())
