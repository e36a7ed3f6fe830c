"""The native library: found, loaded once by ctypes, called with status codes turned into exceptions.

`DENSEFIELD_NATIVE` names another library file (or its folder), `0` switches native code off;
`DENSEFIELD_REQUIRE_NATIVE=1` makes a missing library an error. docs/native.md says how to build it.
"""

from __future__ import annotations

import ctypes
import functools
import math
import os
import warnings
import weakref
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path

import torch
from torch import Tensor

from densefield.ops import forks  # noqa: F401 - so that forked children do not wait for threads that are not there

_SUFFIXES = (".so", ".dylib", ".dll")
_TYPES = {torch.float32: 0, torch.float64: 1}  # as enum df_type has them

LARGE = 1 << 25  # bytes; glibc takes so many from the system each time

POINTER = ctypes.c_void_p
INT32 = ctypes.c_int32
INT64 = ctypes.c_int64
DOUBLE = ctypes.c_double


class NativeLibraryMissing(RuntimeError):
    """The native library is required and cannot be loaded."""


def available() -> bool:
    """Say whether native kernels serve; the first call loads the library, or warns that there is none."""
    return _library() is not None


def serves(tensor: Tensor) -> bool:
    """Say whether native kernels serve where `tensor` lies."""
    return tensor.is_cpu and available()


def cpu() -> str:
    """Name the instruction set in use: `baseline`, `avx2`, `avx512`, or `none` without the library."""
    library = _library()
    if library is None:
        return "none"
    library.df_cpu.restype = ctypes.c_char_p
    return str(library.df_cpu().decode())


@functools.cache
def kernel(name: str, argument_types: tuple[type, ...]) -> Callable[..., None]:
    """Give the kernel `name` as a function that raises where the C function returns an error status."""
    library = _library()
    if library is None:
        raise NativeLibraryMissing(f"{name}: the native library is missing")
    try:
        function = getattr(library, name)
    except AttributeError:
        raise NativeLibraryMissing(f"{name}: not in {library._name}; build the library again") from None
    function.argtypes = argument_types
    function.restype = ctypes.c_int

    def call(*arguments: object) -> None:
        status = function(*arguments)
        if status == 1:
            raise ValueError(f"{name}: bad argument")
        if status == 2:
            raise MemoryError(f"{name}: out of memory")
        if status != 0:
            raise RuntimeError(f"{name}: failed with status {status}")

    return call


class Job(ctypes.Structure):
    """A structure of csrc/densefield.h, fields in its order, under its name: `GridPairsJob` is df_grid_pairs_job."""


def run(name: str, job: Job) -> None:
    """Call the kernel `name`, as `kernel` does, with its job; the caller keeps alive what that points to."""
    kernel(name, (POINTER,))(ctypes.byref(job))


def job_sizes() -> dict[str, int]:
    """Give the bytes of each of the library's jobs."""
    library = _library()
    assert library is not None
    library.df_sizes.restype = ctypes.POINTER(_Size)
    sizes: dict[str, int] = {}
    for one in library.df_sizes():
        if one.name is None:
            break
        sizes[one.name.decode()] = one.bytes
    return sizes


class _Size(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("bytes", INT64)]


def number_of(dtype: torch.dtype) -> int:
    """Give the number by which a job calls `dtype`."""
    return _TYPES[dtype]


def pointer(tensor: Tensor, dtype: torch.dtype) -> int:
    """Give the address of a contiguous CPU tensor of the type that the kernel reads; the caller keeps it alive."""
    if tensor.dtype != dtype or not tensor.is_cpu or not tensor.is_contiguous():
        raise TypeError(
            f"a kernel reads {dtype} on the CPU, contiguous; received {tensor.dtype} on {tensor.device}, "
            f"shape {tuple(tensor.shape)}, strides {tensor.stride()}"
        )
    return tensor.data_ptr()


def empty(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Give an uninitialised tensor on the CPU for a kernel's result.

    A large one stands in memory of the library's, in large pages and, once it is given up, waiting for the next: what
    the system hands out anew page by page, and clears, takes a quarter of the time to build a large lattice.
    """
    size = math.prod(shape) * dtype.itemsize
    if size < LARGE or not available():
        return torch.empty(tuple(shape), dtype=dtype, device="cpu")
    address = POINTER()
    kernel("df_memory_take", (INT64, POINTER))(size, ctypes.addressof(address))
    memory = (ctypes.c_char * size).from_address(address.value or 0)
    weakref.finalize(memory, _release, address).atexit = False
    return torch.frombuffer(memory, dtype=dtype).view(tuple(shape))


def _release(address: ctypes.c_void_p) -> None:
    kernel("df_memory_release", (POINTER,))(address)


def double_array(values: Sequence[float]) -> ctypes.Array[ctypes.c_double]:
    """Give `values` as a C array."""
    return (ctypes.c_double * len(values))(*values)


@functools.cache
def _library() -> ctypes.CDLL | None:
    reason = "switched off by DENSEFIELD_NATIVE=0"
    if os.environ.get("DENSEFIELD_NATIVE") != "0":
        path = _find()
        try:
            if path is not None:
                return ctypes.CDLL(str(path))
            reason = _why_missing()
        except OSError as error:
            reason = str(error)
    if os.environ.get("DENSEFIELD_REQUIRE_NATIVE", "0") not in ("", "0"):
        raise NativeLibraryMissing(f"densefield's native library: {reason}. docs/native.md says how to build it.")
    warnings.warn(
        f"densefield's native library: {reason}. Slower torch paths serve; docs/native.md says how to build it.",
        RuntimeWarning,
        stacklevel=2,
    )
    return None


def _why_missing() -> str:
    """Give the reason that the install has written down, where there is one (backend/densefield_build.py)."""
    asked = os.environ.get("DENSEFIELD_NATIVE")
    told = resources.files("densefield.ops").joinpath("not_built.txt")
    if asked or not told.is_file():
        return f"not found in {asked or 'densefield/ops'}"
    return (
        f"not built while installing ({told.read_text(encoding='utf-8').strip()}); DENSEFIELD_REQUIRE_NATIVE=1 "
        "pip install --verbose --force-reinstall --no-deps --no-cache-dir densefield shows all of it"
    )


def _find() -> Path | None:
    asked = os.environ.get("DENSEFIELD_NATIVE")
    if asked and Path(asked).is_file():
        return Path(asked)
    folder = Path(asked) if asked else resources.files("densefield.ops")
    for ending in _SUFFIXES:
        candidate = folder.joinpath(f"densefield_native{ending}")
        if candidate.is_file():
            return Path(str(candidate))
    return None
