"""`densefield data import` as a person calls it; what each format holds is for tests/data/imports."""

from __future__ import annotations

import json
from pathlib import Path
from typing import get_args

import pytest
from PIL import Image

from densefield.cli.app import run
from densefield.cli.data_import import Format
from densefield.data.imports import FORMATS


def test_the_flag_offers_every_format() -> None:
    assert set(get_args(Format)) == set(FORMATS)


def test_what_was_written_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b"):
        Image.new("RGB", (4, 4)).save(tmp_path / f"{name}.png")
        shape = {"label": "cat", "points": [[0, 0], [2, 2]], "shape_type": "rectangle"}
        plain = {"shapes": [shape], "imagePath": f"{name}.png", "imageHeight": 4, "imageWidth": 4}
        (tmp_path / f"{name}.json").write_text(json.dumps(plain))
    out = tmp_path / "set"
    assert run(["data", "import", str(tmp_path), "--format", "labelme", "--out", str(out), "--copy"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said == [f"{out}: 2 images, each with its mask; copied", "classes: background, cat"]


def test_a_format_that_is_not_known_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["data", "import", str(tmp_path), "--format", "labelmee", "--out", "x"]) == 2
    assert "labelme" in capsys.readouterr().err
