"""Tensors in the safetensors format: named arrays and a short text header, nothing that could run."""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from densefield.checks import InputError, check, one_line
from densefield.files import atomic_write

_NAMES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


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
    # One after another: the library's own writer sets aside all of them twice.
    types = {name: _type(tensor, dtype) for name, tensor in tensors.items()}
    # The widest first, so that each lies at a multiple of its width.
    order = sorted(tensors, key=lambda name: (-types[name].itemsize, name))
    header: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for name in order:
        begin, end = end, end + tensors[name].numel() * types[name].itemsize
        about = {"dtype": _NAMES[types[name]], "shape": list(tensors[name].shape), "data_offsets": [begin, end]}
        header[name] = about
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with atomic_write(path) as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name in order:
            values = tensors[name].detach().to("cpu", types[name]).contiguous().reshape(-1)
            file.write(values.view(torch.uint8).numpy().data)


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


def _type(tensor: Tensor, dtype: torch.dtype | None) -> torch.dtype:
    if dtype is None or not tensor.is_floating_point():
        return tensor.dtype
    return dtype if _finite(tensor.detach().to(dtype)) else tensor.dtype
