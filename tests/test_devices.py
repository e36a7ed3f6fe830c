from __future__ import annotations

import pytest
import torch

from densefield.checks import InputError
from densefield.devices import device_named


def test_a_device_by_its_name_and_the_best_there_is() -> None:
    assert device_named("cpu") == torch.device("cpu")
    assert device_named().type in ("cpu", "cuda", "mps")


@pytest.mark.parametrize("name", ["gpu9000", "cuda:99", ""])
def test_a_device_that_is_not_there_is_named(name: str) -> None:
    with pytest.raises(InputError, match=f"device: '{name}' cannot be used"):
        device_named(name)
