"""The C structures of csrc/densefield.h, and the tensors that their pointers hold on to."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import TypeVar

import torch
from torch import Tensor

from densefield.ops import idle_threads, native

_Item = TypeVar("_Item", bound=native.Job)
_POINTER, _INT64, _INT32, _DOUBLE = native.POINTER, native.INT64, native.INT32, native.DOUBLE


class FieldLattice(native.Job):
    """One lattice and its normalisation."""

    _fields_ = (
        *((name, _POINTER) for name in ("vertices", "weights", "neighbours", "starts", "entries", "before", "after")),
        ("rows", _INT64),
        ("touched", _INT64),
        ("order", _POINTER),
        ("d", _INT32),
        ("term", _INT32),
    )


class FieldGrid(native.Job):
    """One grid kernel and its normalisation along each axis."""

    _fields_ = (
        *((name, _POINTER) for name in ("before_y", "after_y", "before_x", "after_x")),
        ("theta_y", _DOUBLE),
        ("theta_x", _DOUBLE),
        ("term", _INT32),
    )


class FieldTerm(native.Job):
    """One term's compatibility energies."""

    _fields_ = (("energies", _POINTER), ("gradient", _POINTER), ("kind", _INT32))


class MeanFieldJob(native.Job):
    """The whole job."""

    _fields_ = (
        *((name, _INT64) for name in ("labels", "points", "height", "width")),
        *((name, _INT32) for name in ("iterations", "half", "n_threads", "n_lattices", "n_grids", "n_terms")),
        *((name, _POINTER) for name in ("lattices", "grids", "terms", "scores", "initial", "output")),
        *((name, _POINTER) for name in ("doubtful", "seconds", "saved")),
        *((name, _POINTER) for name in ("grad_output", "grad_scores", "grad_initial", "errors")),
    )


class Job:
    """A `MeanFieldJob` that keeps what it points to alive."""

    def __init__(self, labels: int, points: int, size: Sequence[int], iterations: int, half: bool) -> None:
        self._kept: list[object] = []
        height, width = (size[0], size[1]) if len(size) == 2 else (1, points)
        self.field = MeanFieldJob(
            labels=labels,
            points=points,
            height=height,
            width=width,
            iterations=iterations,
            half=int(half),
            n_threads=torch.get_num_threads(),
        )

    def hold(self, tensor: Tensor | None, dtype: torch.dtype = torch.float32) -> int | None:
        """Give the address of a tensor of such numbers for as long as this job lives."""
        if tensor is None:
            return None
        self._kept.append(tensor)
        return native.pointer(tensor, dtype)

    def set_kernels(
        self, lattices: Sequence[FieldLattice], grids: Sequence[FieldGrid], terms: Sequence[FieldTerm]
    ) -> None:
        """Hand over the kernels."""
        self.field.lattices, self.field.n_lattices = self._array(FieldLattice, lattices)
        self.field.grids, self.field.n_grids = self._array(FieldGrid, grids)
        self.field.terms, self.field.n_terms = self._array(FieldTerm, terms)

    def _array(self, kind: type[_Item], items: Sequence[_Item]) -> tuple[int | None, int]:
        array = (kind * len(items))(*items)
        self._kept.append(array)
        return (ctypes.addressof(array) if len(items) else None), len(items)

    def run(self, name: str) -> None:
        """Call the C function `name`."""
        idle_threads.send_away()
        native.run(name, self.field)


def layout(labels: int, half: bool) -> tuple[int, int, torch.dtype]:
    """Give the groups and width of the loop's rows of labels, and the type of the saved marginals."""
    numbers = [ctypes.c_int64() for _ in range(3)]
    native.kernel("df_mean_field_layout", (_INT64, _POINTER, _POINTER, _POINTER))(
        labels, *(ctypes.addressof(number) for number in numbers)
    )
    narrow = half and numbers[2].value == 2
    return numbers[0].value, numbers[1].value, torch.float16 if narrow else torch.float32
