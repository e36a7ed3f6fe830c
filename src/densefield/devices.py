"""Where to compute, by the words people use on a command line."""

from __future__ import annotations

import torch

from densefield.checks import InputError, one_line


def device_named(name: str = "auto") -> torch.device:
    """`cpu`, `cuda`, `cuda:1`, `mps` or `auto`: CUDA, else Apple's GPU, else the CPU; `InputError` if unusable."""
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = one_line(error, 100)
        raise InputError(f"device: {name!r} cannot be used ({reason}); wanted cpu, cuda, cuda:1 or mps") from error
    return device
