from __future__ import annotations

import random
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from drawing import seed_by_name, seeded

TESTS = Path(__file__).parents[1]
OF_NUMBERS = ["ops", "refine", "losses", "metrics", "networks", "data/transforms", "draw"]


def drawn() -> tuple[float, float, float]:
    return random.random(), float(np.random.random()), float(torch.rand(()))  # noqa: NPY002 as libraries do


def test_every_test_begins_with_its_own_name(request: pytest.FixtureRequest) -> None:
    found = drawn()
    seed_by_name(request.node.nodeid)
    assert drawn() == found
    seed_by_name(request.node.nodeid + "[other]")
    assert not set(drawn()) & set(found)


def test_seeds_are_the_same_in_every_process_and_move_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("drawing.OFFSET", 0)
    assert seeded(3) == 3
    seed_by_name("a test")
    first = torch.initial_seed()
    assert first == 1251013448  # CRC-32, not the salted hash()
    monkeypatch.setattr("drawing.OFFSET", 7)
    assert seeded(3) == 7_000_024
    seed_by_name("a test")
    assert torch.initial_seed() == (first + 7_000_021) % 2**32


def test_seeds_written_down_in_tests_of_numbers_follow_the_offset() -> None:
    files = [file for folder in OF_NUMBERS for file in (TESTS / folder).rglob("*.py")]
    assert files
    fixed = {
        f"{file.relative_to(TESTS)}: {call}"
        for file in files
        for call in re.findall(r"(?:manual_seed|default_rng)\((?!seeded\().*", file.read_text())
    }
    assert not fixed, "write seeded(number) in place of the number"
