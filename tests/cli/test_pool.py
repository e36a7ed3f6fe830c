from __future__ import annotations

import math
import os

import pytest

from densefield.checks import InputError
from densefield.cli.pool import outcomes


@pytest.mark.parametrize("workers", [1, 2])
def test_a_task_that_fails_leaves_the_others_alone(workers: int) -> None:
    found = dict(outcomes(math.sqrt, [4.0, -1.0, 9.0], workers=workers, title="roots"))
    assert isinstance(found.pop(-1.0), ValueError)
    assert found == {4.0: 2.0, 9.0: 3.0}


def test_a_process_that_dies_is_a_lack_of_memory_not_a_hang() -> None:
    for _, outcome in outcomes(os._exit, [3, 4], workers=2, title="exits"):
        assert isinstance(outcome, MemoryError)
        assert "--workers 1" in str(outcome)


def test_the_number_of_workers_is_checked() -> None:
    assert list(outcomes(math.sqrt, [], workers=0, title="none")) == []
    with pytest.raises(InputError, match="workers: wanted 0 or more"):
        list(outcomes(math.sqrt, [1.0], workers=-1, title="one"))
