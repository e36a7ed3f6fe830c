from __future__ import annotations

import pytest

from densefield.checks import InputError
from densefield.ops.memory import check_memory


def test_says_what_does_not_fit():
    check_memory(1 << 20, "a small thing")
    with pytest.raises(InputError, match="a lattice needs 1048576"):
        check_memory(1 << 50, "a lattice")
