"""What the formats' tests share: the two commands as a person calls them, and what they leave."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from densefield.classes import ClassList
from densefield.cli.app import run
from drawing import seeded

Masks = dict[str, np.ndarray]


@pytest.fixture
def imported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[ClassList, Masks, str]]:
    """Imports a source and wants `data check` to pass: the classes, the masks' values by name, what was said."""

    def command(source: Path, format: str, *flags: str) -> tuple[ClassList, Masks, str]:
        out = tmp_path / "out"
        assert run(["data", "import", str(source), "--format", format, "--out", str(out), *flags]) == 0
        said = " ".join(capsys.readouterr().out.split())
        assert run(["data", "check", str(out)]) == 0, capsys.readouterr().out
        masks = {}
        for path in sorted((out / "masks").rglob("*.png")):
            with Image.open(path) as picture:
                assert picture.mode == "P"
                masks[path.relative_to(out / "masks").with_suffix("").as_posix()] = np.array(picture)
        return ClassList.read(out / "classes.yaml"), masks, said

    return command


@pytest.fixture
def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Imports a source that cannot be used: one line, status 2, and the folder as it was. Gives the line."""

    def command(source: Path, format: str, *flags: str) -> str:
        before = sorted(tmp_path.rglob("*"))
        out = tmp_path / "made" / "for" / "out"
        assert run(["data", "import", str(source), "--format", format, "--out", str(out), *flags]) == 2
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 1, lines
        assert sorted(tmp_path.rglob("*")) == before
        return lines[0]

    return command


@pytest.fixture
def photo() -> Callable[..., Path]:
    """Writes a picture of (height, width), as JPEG or whatever its name says."""

    def write(path: Path, size: tuple[int, int]) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.random.default_rng(seeded(3)).integers(0, 256, (*size, 3), np.uint8)).save(path)
        return path

    return write
