"""Values that flags lay over a recipe's fields."""

from __future__ import annotations

import pytest

from densefield.checks import InputError
from densefield.recipes import find_recipe


@pytest.mark.parametrize(
    "value",
    [
        "2020-01-01",
        "2020-01-01T10:00:00",
        '{"a": {"b": [1, {"c": 2}]}}',
        "{2020-01-01: 2}",
        "[[[[1]]]]",
        "!!set {a}",
        "!!binary aGVsbG8=",
        "[" * 400 + "]" * 400,
    ],
)
def test_what_is_no_number_is_named_with_its_field(value: str) -> None:
    with pytest.raises(InputError, match=r"^sample_demo: seed: Input should be a valid integer, received") as caught:
        find_recipe("sample_demo", ["--seed", value])
    assert len(str(caught.value)) < 200
    assert "\n" not in str(caught.value)


def test_a_day_of_the_calendar_is_text() -> None:
    assert find_recipe("sample_demo", ["--name", "2020-01-01"]).name == "2020-01-01"
