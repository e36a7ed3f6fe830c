from __future__ import annotations

import numpy as np
import pytest
import torch

from densefield.checks import InputError, check, check_finite, check_map, check_target, finite_number, whole_number


def test_a_check_that_holds_says_nothing() -> None:
    check(True, "never seen")
    check_map("scores", torch.zeros(1, 2, 3, 4), channels=2)
    check_finite("scores", torch.zeros(0))
    check_finite("scores", torch.full((9,), 3e38))
    check_target("target", torch.tensor([[[0, 255]]]), torch.zeros(1, 2, 1, 2), 2, 255)


@pytest.mark.parametrize("five", [5, 5.0, np.int8(5), np.float32(5), torch.tensor(5), torch.tensor(5.0)])
def test_numbers_of_any_type_serve(five: object) -> None:
    assert type(whole_number("count", five, 0)) is int
    assert whole_number("count", five, 5, 5) == 5
    assert type(finite_number("width", five)) is float
    assert finite_number("width", five) == 5


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "wanted a whole number, 1 or more, received None"),
        ("5", "wanted a whole number, 1 or more, received '5'"),
        (5.5, "received 5.5"),
        (float("nan"), "received nan"),
        (float("inf"), "received inf"),
        (0, "wanted 1 or more, received 0"),
        (2**31, "wanted 1 to 2147483647, received 2147483648"),
        (torch.zeros(2, 3), r"received Tensor of torch.float32 \(2, 3\)"),
        (np.zeros(2), r"received ndarray of float64 \(2,\)"),
        ("long\n" * 40, r"received 'long.*\.\.\.$"),
    ],
)
def test_what_is_no_whole_number_is_shown_on_one_line(value: object, said: str) -> None:
    with pytest.raises(InputError, match=f"^count: .*{said}") as raised:
        whole_number("count", value, 1)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("value", [None, "5", b"5", float("nan"), -float("inf"), 10**400, 1j, torch.zeros(2), []])
def test_what_is_no_number_is_named(value: object) -> None:
    with pytest.raises(InputError, match=r"^width: wanted a finite number, received "):
        finite_number("width", value)


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


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("place", [0, 500, 999])
def test_one_wrong_number_is_found_wherever_it_is(wrong: float, place: int) -> None:
    values = torch.randn(1000)
    values[place] = wrong
    with pytest.raises(InputError, match="values: holds NaN or Inf"):
        check_finite("values", values)
