"""Machines that cannot be are one line that names the flag."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from densefield.checks import InputError
from densefield.runs.machine import Machine, check_machine


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        ({"workers": -1}, r"--workers: wanted 0 .*received -1"),
        ({"threads": 0}, r"--threads: wanted 1 or more, received 0"),
        ({"nodes": 0}, r"--nodes: wanted 1 or more"),
        ({"devices": 0}, r"--devices: wanted .*received 0"),
        ({"devices": "0"}, r"--devices: wanted .*received 0"),
        ({"devices": "many"}, r"--devices many.*cannot be used"),
        ({"devices": -3}, r"--devices -3.*cannot be used"),
        ({"accelerator": "tpuu"}, r"--accelerator tpuu.*cannot be used .*tpuu"),
        ({"accelerator": "tpu"}, r"--accelerator tpu .*cannot be used"),
        ({"checkpoint_minutes": -1.0}, r"--checkpoint-minutes: wanted 0 or more"),
        ({"checkpoint_minutes": math.nan}, r"--checkpoint-minutes: wanted 0 or more"),
    ],
)
def test_what_cannot_be_is_named(flags: dict[str, Any], line: str) -> None:
    with pytest.raises(InputError, match=line) as caught:
        check_machine(Machine(**{"accelerator": "cpu", "devices": 1, **flags}), "32-true")
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_an_absent_gpu_is_named() -> None:
    with pytest.raises(InputError, match="--accelerator cuda --devices auto with precision 32-true: cannot be used"):
        check_machine(Machine(accelerator="cuda"), "32-true")


def test_what_can_be_passes() -> None:
    assert check_machine(Machine(accelerator="cpu", devices=1), "32-true") == 1
    assert check_machine(Machine(accelerator="cpu", devices=2, workers=0, bar=False), "bf16-mixed") == 2
    assert check_machine(Machine(accelerator="cpu", devices=2, nodes=3), "32-true") == 6
