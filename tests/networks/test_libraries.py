"""What is common to networks of libraries: options, names, and complaints in one line."""

from __future__ import annotations

import pytest
import torch

from densefield.checks import InputError
from densefield.networks.libraries import building, check_known, options_of


def decoder(width: int = 3, *, classes: int, depth: int = 4, **others: int) -> None:
    """A builder as a library has them."""


def test_options_are_the_builders_other_arguments_as_json_has_them() -> None:
    assert options_of("x", {"width": 5, "depth": (1, 2)}, decoder, ["classes"]) == {"width": 5, "depth": [1, 2]}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"dept": 3}, "decoder takes no 'dept'; did you mean 'depth'? Wanted some of: depth, width"),
        ({"classes": 3}, "decoder takes no 'classes'. Wanted some of: depth, width"),
        ({"others": 3}, "decoder takes no 'others'. Wanted some of: depth, width"),
        ({"depth": torch.zeros(2)}, "wanted what JSON holds (Object of type Tensor is not JSON serializable)"),
        ({"depth": float("nan")}, "wanted what JSON holds (Out of range float values are not JSON compliant"),
    ],
)
def test_options_that_do_not_fit_are_told_with_those_there_are(options: dict[str, object], told: str) -> None:
    with pytest.raises(InputError) as error:
        options_of("smp: options", options, decoder, ["classes"])
    assert str(error.value).startswith(f"smp: options: {told}")


def test_an_unknown_name_is_told_with_the_likely_one_and_of_few_with_all() -> None:
    with pytest.raises(InputError, match=r"arch: there is no 'Unett'; did you mean 'Unet'\? Wanted one of: FPN, Unet$"):
        check_known("arch", "Unett", ["Unet", "FPN"])
    with pytest.raises(InputError, match=r"there is no 'e7x'; did you mean 'e7'\?$"):
        check_known("encoder", "e7x", [f"e{number}" for number in range(30)])


def test_what_a_library_complains_of_is_one_line_and_too_little_memory_stays_what_it_is() -> None:
    with pytest.raises(InputError, match=r"^smp: does not accept its arguments \(two lines\)$"), building("smp"):
        raise ValueError("two\nlines")
    with pytest.raises(RuntimeError, match="memory"), building("smp"):
        raise RuntimeError("not enough memory")
    with pytest.raises(InputError, match=r"^ours$"), building("smp"):
        raise InputError("ours")


def test_rates_are_numbers_on_the_meta_device_too() -> None:
    with torch.device("meta"), building("smp"):
        assert torch.linspace(0, 1, 3)[1].item() == 0.5
        assert torch.zeros(2).device.type == "meta"
