"""The example in the repository runs, and says the same with pydensecrf where that is installed."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

EXAMPLE = Path(__file__).parents[3] / "examples" / "pydensecrf_drop_in.py"


def test_a_script_for_pydensecrf_runs_with_its_imports_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [str(EXAMPLE), str(tmp_path), "4"])
    runpy.run_path(str(EXAMPLE), run_name="__main__")
    said = capsys.readouterr().out.splitlines()
    divergences = [float(line.split(": ")[1]) for line in said if line.startswith("KL")]
    assert len(divergences) == 5
    assert divergences == sorted(divergences, reverse=True)
    share = float(said[-1].split(": ")[1].split(" ")[0])
    assert share > 97
    before, after = (np.array(Image.open(tmp_path / f"{name}.png")) for name in ("before", "after"))
    assert before.shape == after.shape == (100, 128, 3)
    # The wall beside the neck was inside the rough mask; the hair beside the ellipse was not.
    assert (before[44, 68] < 255).any()
    assert (after[44, 68] == 255).all()


def test_the_example_is_pydensecrf_but_for_its_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pydensecrf.densecrf")
    original = tmp_path / "original.py"
    original.write_text(EXAMPLE.read_text().replace("densefield.refine.pydensecrf", "pydensecrf"))
    masks = []
    for script in (original, EXAMPLE):
        monkeypatch.setattr(sys, "argv", [str(script), str(tmp_path / script.stem), "4"])
        runpy.run_path(str(script), run_name="__main__")
        masks.append(np.array(Image.open(tmp_path / script.stem / "after.png")))
    assert np.mean(masks[0] != masks[1]) < 1e-3
