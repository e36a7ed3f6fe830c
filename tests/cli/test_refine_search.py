"""`densefield refine search` as a person calls it; how settings are ranked is held in test_refine.py."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from densefield.cli.app import run


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two images, 12×16, with an edge at column 8; rough masks have it at column 6, right ones at column 8."""
    columns = np.arange(16)
    for name in "ab":
        noise = np.random.default_rng(0).integers(0, 12, (12, 16, 3))
        pictures = {"images": noise + np.where(columns < 8, 0, 180)[:, None]}
        pictures |= {
            kind: np.where(columns < edge, 0, 1)[None].repeat(12, 0) for kind, edge in (("rough", 6), ("truth", 8))
        }
        for kind, array in pictures.items():
            (tmp_path / kind).mkdir(exist_ok=True)
            Image.fromarray(array.astype(np.uint8)).save(tmp_path / kind / f"{name}.png")
    return tmp_path


def test_the_best_flags_are_those_that_refine_takes(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images, truth, rough = (str(photos / kind) for kind in ("images", "truth", "rough"))
    alone = ["--workers", "1"]
    tried = ["--alpha", "40", "--beta", "13", "--bilateral-weight", "10", *alone]
    assert run(["refine", "search", images, truth, "--labels", rough, *tried]) == 0
    best = capsys.readouterr().out.split("best:")[1].strip()
    assert run(["refine", images, "--labels", rough, "--out", str(photos / "out"), *alone, *shlex.split(best)]) == 0
    for name in "ab":
        with (
            Image.open(photos / "out" / f"{name}.png") as refined,
            Image.open(photos / "truth" / f"{name}.png") as right,
        ):
            np.testing.assert_array_equal(np.asarray(refined), np.asarray(right))


def test_a_missing_folder_is_one_line(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = str(photos / "nothing")
    assert run(["refine", "search", wrong, str(photos / "truth"), "--labels", str(photos / "rough")]) == 2
    assert "wanted a folder of images" in " ".join(capsys.readouterr().err.split())
