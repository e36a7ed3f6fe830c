"""The demo from its first line to its report, in its quick form: few steps, no figure worth anything."""

from __future__ import annotations

from pathlib import Path

import pytest

from densefield.cli.app import run
from densefield.recipes import find_recipe


def test_the_quick_demo_ends_with_both_figures_the_gain_and_its_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "demo"
    command = ["demo", "--quick", "--out", str(home)]
    assert run(command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("densefield demo: ")
    for number in (1, 2, 3):
        assert sum(line.startswith(f"{number} of 3: ") for line in lines) == 1
    alone, refined, gain, _, report, _ = lines[-6:]
    assert alone.startswith("network alone: ")
    assert refined.startswith("with its dense CRF: ")
    assert report.endswith(str(home / "report.html"))
    before, after = (float(line.split("mean IoU ")[1].split(" %")[0]) for line in (alone, refined))
    assert float(gain.split()[1]) == pytest.approx(after - before, abs=0.11)

    html = (home / "report.html").read_text()
    for part in ("Near the boundaries", "Network alone", "Refined", "IoU alone", "network alone</span>"):
        assert part in html
    # A finished demo is measured again, not trained again.
    weights = (home / "segmenter.safetensors").read_bytes()
    assert run(command) == 0
    assert "epoch" not in capsys.readouterr().out
    assert (home / "segmenter.safetensors").read_bytes() == weights


def test_the_quick_demo_differs_in_size_alone() -> None:
    whole, quick = find_recipe("sample_demo"), find_recipe("sample_demo_quick")
    assert (quick.network, quick.refinement, quick.loss) == (whole.network, whole.refinement, whole.loss)
    assert [stage.trains for stage in quick.stages] == [stage.trains for stage in whole.stages]
