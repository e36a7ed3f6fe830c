"""Libraries that densefield does without: imported where they are wanted, with a line that says what to install."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from densefield.checks import InputError, one_line

_KEPT: list[Any] = []  # torch forgets the schemas with the object that declared them


def needed(name: str, by: str, extra: str = "encoders") -> ModuleType:
    """The library `name`, imported; raises `InputError` that begins with who needs it where it is missing or broken."""
    declare_torchvision()
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        wanted = f'{by}: needs {error.name or name}; pip install "densefield[{extra}]"'
        raise InputError(wanted) from error
    except Exception as error:  # whatever a library of another release stumbles over
        raise InputError(f"{by}: {name} cannot be imported ({one_line(error)}); install it again") from error


@functools.cache
def declare_torchvision() -> None:
    """Make a torchvision importable that was built for another torch, as for CUDA beside a torch without.

    Its library cannot be loaded then, and its import ends for want of two operators, in timm, smp and torchmetrics too.
    Declared without a kernel, they are not missed: nothing here calls them.
    """
    found = importlib.util.find_spec("torchvision") if "torchvision" not in sys.modules else None
    if found is None or found.origin is None:
        return
    import torch

    try:
        for library in sorted(Path(found.origin).parent.glob("_C*")):
            torch.ops.load_library(str(library))
    except (ImportError, OSError):
        pass
    if hasattr(torch.ops.torchvision, "nms"):
        return
    declared = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        declared.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _KEPT.append(declared)
