from __future__ import annotations

import pytest
import torch

from densefield.checks import InputError
from densefield.ops.permutohedral.finite import check_all_finite


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -float("inf")])
def test_finds_one_wrong_value_anywhere(wrong):
    for place in (0, 500, 999):
        values = torch.randn(1000)
        values[place] = wrong
        with pytest.raises(InputError, match="values"):
            check_all_finite("values", values)


def test_lets_large_and_empty_pass():
    check_all_finite("values", torch.full((9,), 3e38))
    check_all_finite("values", torch.empty(0))
