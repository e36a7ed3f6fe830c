"""Names come from outside: they are shown as they are, in tables, lines and errors."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.table import Table

from densefield.classes import ClassList
from densefield.cli.app import run
from densefield.cli.evaluate import class_table
from densefield.cli.terminal import plain_console
from densefield.metrics import ConfusionMatrix

NAMES = ("car [parked]", "[/b]", ":car:", "[bold]")


def test_names_of_classes_stand_in_tables_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    confusion = ConfusionMatrix(len(NAMES))
    confusion.update(torch.arange(4)[None, None], torch.arange(4)[None, None])
    classes = ClassList(NAMES, tuple((value, 0, 0) for value in range(4)))
    plain_console().print(class_table(confusion, classes))
    said = capsys.readouterr().out
    assert all(name in said for name in NAMES)


def test_a_title_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    plain_console().print(Table("[/b]", title="run [1]"))
    said = capsys.readouterr().out
    assert "run [1]" in said
    assert "[/b]" in said


def test_folders_and_classes_in_the_audit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "[/b]"
    for place in ("images", "masks"):
        (root / place).mkdir(parents=True)
    pixels = np.arange(64, dtype=np.uint8).reshape(8, 8)
    Image.fromarray(pixels).save(root / "images" / "[x].png")
    Image.fromarray(pixels % 2).save(root / "masks" / "[x].png")
    Image.fromarray(pixels).save(root / "images" / "[lonely].png")
    (root / "classes.yaml").write_text("['car [parked]', '[/b]']")
    assert run(["data", "check", str(root)]) == 2
    said = capsys.readouterr().out
    assert "car [parked]" in said
    assert "[lonely]" in "".join(said.split())  # a long line is wrapped


def test_an_error_names_a_folder_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["data", "check", str(tmp_path / "[/b]:car:")]) == 2
    assert "[/b]:car:" in capsys.readouterr().err


def test_a_name_that_the_locale_cannot_show_is_no_traceback(tmp_path: Path) -> None:
    code = "import sys; from densefield.cli.app import run; sys.exit(run(['data', 'check', sys.argv[1]]))"
    environment = {"PYTHONPATH": ":".join(sys.path), "PYTHONIOENCODING": "ascii", "PATH": "/usr/bin"}
    command = [sys.executable, "-c", code, str(tmp_path / "写真")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert r"\u5199\u771f" in done.stderr
