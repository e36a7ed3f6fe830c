"""Tensors in the safetensors format: named arrays and a short text header, nothing that could run."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from densefield.checks import InputError, check, one_line
from densefield.files import atomic_write


def read_tensors(path: str | os.PathLike[str]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a safetensors file by name, and its header's texts.

    Raises `InputError` naming the file when it is missing, cut short or damaged, or holds NaN or Inf.
    """
    path = Path(path)
    check(path.is_file(), f"{path}: no such file; wanted a .safetensors file")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = dict(file.metadata() or {})
            # A copy: the file's own memory map would break when somebody shortens the file.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, RuntimeError) as error:
        reason = one_line(error)
        raise InputError(f"{path}: not a readable safetensors file ({reason}); save or download it again") from error
    for name, tensor in tensors.items():
        check(_finite(tensor), f"{path}: tensor {name} holds NaN or Inf; save or download it again")
    return tensors, metadata


def write_tensors(
    path: str | os.PathLike[str],
    tensors: Mapping[str, Tensor],
    metadata: Mapping[str, str] | None = None,
    *,
    dtype: torch.dtype | None = None,
) -> None:
    """Write named tensors and a header of texts, whole or not at all.

    Floating-point tensors become `dtype` where given, except those with values that it cannot hold.
    """
    # Clones, as the format refuses tensors that share memory.
    plain = {name: _narrowed(tensor.detach().cpu(), dtype).contiguous().clone() for name, tensor in tensors.items()}
    data = save(plain, dict(metadata or {}))
    with atomic_write(path) as file:
        file.write(data)


def check_fit(wanted: Mapping[str, Tensor], received: Mapping[str, Tensor], path: str | os.PathLike[str]) -> None:
    """Raise `InputError` naming `path` and the first tensor that is missing, unknown or of another shape."""
    missing = [name for name in wanted if name not in received]
    check(not missing, f"{path}: misses {len(missing)} tensors of its network, first {missing[0] if missing else ''}")
    unknown = [name for name in received if name not in wanted]
    check(not unknown, f"{path}: holds {len(unknown)} tensors its network lacks, first {unknown[0] if unknown else ''}")
    for name, tensor in received.items():
        shape = tuple(wanted[name].shape)
        received_shape = tuple(tensor.shape)
        check(received_shape == shape, f"{path}: tensor {name}: wanted shape {shape}, received {received_shape}")


def _finite(tensor: Tensor) -> bool:
    if not tensor.is_floating_point() or not tensor.numel():
        return True
    least, most = torch.aminmax(tensor if tensor.dtype.itemsize > 1 else tensor.float())  # sets nothing aside
    return math.isfinite(float(least)) and math.isfinite(float(most))


def _narrowed(tensor: Tensor, dtype: torch.dtype | None) -> Tensor:
    if dtype is None or not tensor.is_floating_point():
        return tensor
    narrow = tensor.to(dtype)
    return narrow if _finite(narrow) else tensor
