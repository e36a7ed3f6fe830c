"""What `densefield kinds` tells, of every kind."""

from __future__ import annotations

import pytest

from densefield.cli.app import run
from densefield.runs.kinds import PARTS


def test_every_kind_is_listed_and_every_key_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["kinds"]) == 0
    listed = capsys.readouterr().out
    for part, known in PARTS.items():
        for kind, model in known.models.items():
            assert kind in listed
            assert run(["kinds", kind]) == 0
            told = capsys.readouterr().out
            assert f"{part}: {{kind: {kind}}}" in told
            for key in model.model_fields.keys() - {"kind"}:
                assert key in told


def test_bounds_defaults_and_needed_keys_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    run(["kinds", "samples"])
    assert "[0, 1]" in capsys.readouterr().out  # the digits, no truth values
    run(["kinds", "folder"])
    assert "needed" in capsys.readouterr().out
    run(["kinds", "dense_crf"])
    assert "five iterations, learned" in " ".join(capsys.readouterr().out.split())


def test_a_wrong_kind_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["kinds", "UNET"]) == 2
    assert "did you mean 'unet'" in capsys.readouterr().err


@pytest.mark.parametrize("width", [24, 45, 59, 60, 100])
def test_nothing_is_cut_however_narrow_the_terminal(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    for kind in ([], ["folder"], ["dense_crf"]):
        assert run(["kinds", *kind]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert not any("…" in line for line in lines)
        assert max(map(len, lines)) <= width
