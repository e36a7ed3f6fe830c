from __future__ import annotations

import pytest
import torch

from densefield.checks import InputError, check, check_finite, check_map, check_target


def test_a_check_that_holds_says_nothing() -> None:
    check(True, "never seen")
    check_map("scores", torch.zeros(1, 2, 3, 4), channels=2)
    check_finite("scores", torch.zeros(0))
    check_target("target", torch.tensor([[[0, 255]]]), torch.zeros(1, 2, 1, 2), 2, 255)


def test_errors_name_argument_received_and_wanted() -> None:
    with pytest.raises(InputError, match=r"scores: wanted shape \(B, 5, H, W\), received \(1, 2, 3, 4\)"):
        check_map("scores", torch.zeros(1, 2, 3, 4), channels=5)
    with pytest.raises(InputError, match=r"scores: wanted a floating-point tensor, received torch.int64"):
        check_map("scores", torch.zeros(1, 2, 3, 4, dtype=torch.int64))
    with pytest.raises(InputError, match="scores: holds NaN or Inf"):
        check_finite("scores", torch.tensor([0.0, float("nan")]))
    with pytest.raises(InputError, match=r"target: wanted shape \(1, 3, 4\) to fit scores .*, received \(3, 4\)"):
        check_target("target", torch.zeros(3, 4, dtype=torch.int64), torch.zeros(1, 2, 3, 4), 2, 255)
    with pytest.raises(InputError, match="target: holds class 7, wanted 0 to 1 or ignore_index=255"):
        check_target("target", torch.full((1, 3, 4), 7), torch.zeros(1, 2, 3, 4), 2, 255)
    with pytest.raises(InputError, match="wanted an integer tensor"):
        check_target("target", torch.zeros(1, 3, 4), torch.zeros(1, 2, 3, 4), 2, 255)
