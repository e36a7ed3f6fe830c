"""The fuzzers for a few seconds, and proof that they can fail. By hand: tests/fuzz/run.py --cases 10000 --seed 7."""

from __future__ import annotations

import mmap
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("resource", reason="the fuzzers' bounds are those of POSIX")

from run import fuzz
from targets import Target, targets

from densefield.checks import InputError

KNOWN = targets()


def test_every_damaged_input_is_read_or_refused_in_one_line() -> None:
    script = Path(__file__).with_name("run.py")
    path = os.pathsep.join([str(Path(__file__).parents[2] / "src"), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, str(script), "--cases", "40"]
    # A process of its own: a crash is a message here, and memory's peak is that of the fuzzers alone.
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr[-3000:]}"
    lines = done.stdout.splitlines()
    assert len(lines) == len(KNOWN)
    assert all(line.endswith(", 0 wrong") for line in lines)


@pytest.mark.parametrize("name", KNOWN)
def test_undamaged_inputs_are_read(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("targets.damaged", lambda data, rng: data)
    monkeypatch.setattr("targets.altered", lambda tree, rng: tree)
    path = KNOWN[name].make(random.Random(0), tmp_path)
    if name in ("mask of jpg", "mask of tiff", "mask of webp", "scores as npz"):  # not taken, however sound
        with pytest.raises(InputError):
            KNOWN[name].read(path)
    else:
        KNOWN[name].read(path)


def _lines(path: Path) -> None:
    raise InputError("one\ntwo")


def _key(path: Path) -> None:
    raise KeyError("x")


def _memory(path: Path) -> None:
    with mmap.mmap(-1, 512 * 2**20) as fresh:  # never what this process has used before
        fresh[:] = bytes(len(fresh))


@pytest.mark.parametrize(("read", "said"), [(_lines, "several lines"), (_key, "KeyError"), (_memory, "memory grew")])
def test_the_fuzzer_itself_can_fail(read: object, said: str) -> None:
    assert callable(read)
    _, _, faults = fuzz("x", Target(lambda rng, folder: folder / "x", read), cases=2, seed=0)
    assert faults
    assert said in faults[0]
