from __future__ import annotations

import math
from pathlib import Path

import pytest

from densefield.checks import InputError
from densefield.cli.pool import outcomes

DIE = "__import__('os')._exit(3)"  # as the system's killer does: no exception, no clean-up


@pytest.mark.parametrize("workers", [1, 2])
def test_a_task_that_fails_leaves_the_others_alone(workers: int) -> None:
    found = dict(outcomes(math.sqrt, [4.0, -1.0, 9.0], workers=workers, title="roots"))
    assert isinstance(found.pop(-1.0), ValueError)
    assert found == {4.0: 2.0, 9.0: 3.0}


def test_a_task_that_kills_its_process_fails_alone() -> None:
    tasks = ["1+1", DIE, "2+2", "3+3", "4+4", "5+5"]
    found = dict(outcomes(eval, tasks, workers=2, title="sums"))
    error = found.pop(DIE)
    assert isinstance(error, MemoryError)
    assert "died twice" in str(error)
    assert found == {"1+1": 2, "2+2": 4, "3+3": 6, "4+4": 8, "5+5": 10}


def test_a_task_whose_process_died_once_is_tried_again(tmp_path: Path) -> None:
    mark = str(tmp_path / "tried")
    once = f"7 if __import__('os').path.exists({mark!r}) else (open({mark!r}, 'w').close(), {DIE})"
    found = dict(outcomes(eval, ["1+1", once, "2+2"], workers=2, title="sums"))
    assert found == {"1+1": 2, once: 7, "2+2": 4}


def test_the_number_of_workers_is_checked() -> None:
    assert list(outcomes(math.sqrt, [], workers=0, title="none")) == []
    with pytest.raises(InputError, match="workers: wanted 0 or more"):
        list(outcomes(math.sqrt, [1.0], workers=-1, title="one"))
