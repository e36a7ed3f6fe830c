"""The mean field's kernels of csrc/crf: their jobs filled in and run."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor

from densefield.ops import idle_threads, native
from densefield.ops.mean_field.filters import GridKernel, LatticeKernel, grid_kernel, lattice_kernel
from densefield.ops.permutohedral import Lattice

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


_ROWS: list[tuple[str, Any]] = [
    ("a", _POINTER),
    ("b", _POINTER),
    *((name, _INT64) for name in ("groups", "points", "width")),
    ("half", _INT32),
    ("n_threads", _INT32),
]


class LatticeMomentsJob(native.Job):
    """Rows at points, and the lattice between them."""

    _fields_ = (
        *_ROWS,
        *((name, _POINTER) for name in ("vertices", "weights", "neighbours", "starts", "entries")),
        ("rows", _INT64),
        ("d", _INT32),
        *((name, _POINTER) for name in ("features", "of_a", "of_b", "cross", "ahead", "behind")),
    )


class GridPairsJob(native.Job):
    """Rows at points, and the lines in which they stand."""

    _fields_ = (
        *_ROWS,
        *((name, _INT64) for name in ("lines", "length", "next", "step")),
        *((name, _POINTER) for name in ("taps", "before", "after")),
        *((name, _INT64) for name in ("n_taps", "radius")),
        ("pairs", _POINTER),
    )


class Field(NamedTuple):
    """What the loop takes beside scores and a start: the terms' tensors, grid terms first, and how it runs."""

    energies: Sequence[Tensor]  # for each term
    widths: Sequence[Tensor]  # for each term
    features: Sequence[Tensor]  # for each lattice term, (1, d, N)
    lattices: Sequence[Tensor]  # the parts of all lattices, one after the other
    counts: Sequence[int]  # for each lattice term: its lattices
    iterations: int
    normalization: str
    half: bool
    keep: bool  # the marginals before each iteration, for the backward pass

    @property
    def n_grids(self) -> int:
        """How many terms are of grids."""
        return len(self.widths) - len(self.counts)


class FieldCall:
    """A `MeanFieldJob` that keeps what it points to alive."""

    def __init__(
        self,
        scores: Tensor,  # (C, *size)
        initial: Tensor | None,
        field: Field,
        sums: Sequence[Tensor | None],  # for each term: where the gradient by its energies goes
    ) -> None:
        labels, *size = scores.shape
        height, width = size if len(size) == 2 else (1, math.prod(size))
        self.job = MeanFieldJob(
            labels=labels,
            points=math.prod(size),
            height=height,
            width=width,
            iterations=field.iterations,
            half=field.half,
            n_threads=torch.get_num_threads(),
        )
        self._kept: list[object] = []
        self.point("scores", scores.contiguous())
        self.point("initial", None if initial is None else initial.contiguous())
        self.grids = [grid_kernel(widths, size, field.normalization) for widths in field.widths[: field.n_grids]]
        parts = len(Lattice._fields)
        every = [Lattice(*field.lattices[i : i + parts]) for i in range(0, len(field.lattices), parts)]
        self.lattices: list[LatticeKernel] = []
        for count, features, widths in zip(field.counts, field.features, field.widths[field.n_grids :], strict=True):
            self.lattices.append(lattice_kernel(every[:count], features, widths, field.normalization))
            every = every[count:]
        self._set("terms", [self._term(*pair) for pair in zip(field.energies, sums, strict=True)])
        self._set("grids", [self._grid(index, field.widths[index], kernel) for index, kernel in enumerate(self.grids)])
        lattices = enumerate(self.lattices, start=field.n_grids)
        self._set("lattices", [one for index, kernel in lattices for one in self._lattices(index, kernel)])

    def point(self, name: str, tensor: Tensor | None, dtype: torch.dtype = torch.float32) -> None:
        """Let the job's field `name` point at a tensor of such numbers."""
        setattr(self.job, name, self._address(tensor, dtype))

    def run(self, name: str) -> None:
        """Call the C function `name`."""
        idle_threads.send_away()
        native.run(name, self.job)

    def _address(self, tensor: Tensor | None, dtype: torch.dtype = torch.float32) -> int | None:
        if tensor is None or not tensor.numel():
            return None
        self._kept.append(tensor)
        return native.pointer(tensor, dtype)

    def _set(self, name: str, items: Sequence[_Item]) -> None:
        if items:
            array = (type(items[0]) * len(items))(*items)
            self._kept.append(array)
            setattr(self.job, name, ctypes.addressof(array))
            setattr(self.job, f"n_{name}", len(items))

    def _term(self, energy: Tensor, gradient: Tensor | None) -> FieldTerm:
        address = self._address(energy.detach().contiguous())
        return FieldTerm(energies=address, gradient=self._address(gradient, torch.float64), kind=energy.dim())

    def _grid(self, index: int, widths: Tensor, kernel: GridKernel) -> FieldGrid:
        theta_y, theta_x = widths.tolist() if len(widths) == 2 else (1.0, *widths.tolist())
        return FieldGrid(*map(self._address, kernel.axes), theta_y=theta_y, theta_x=theta_x, term=index)

    def _lattices(self, index: int, kernel: LatticeKernel) -> list[FieldLattice]:
        corners = kernel.lattices[0].vertices.shape[2]
        scale = kernel.factor / len(kernel.lattices) / (1 + 2.0 ** (1 - corners))  # the loop's own sums are bare
        before, after = self._address(kernel.before), self._address(kernel.after * scale)
        return [
            FieldLattice(
                vertices=self._address(lattice.vertices, torch.int32),
                weights=self._address(lattice.weights),
                neighbours=self._address(lattice.neighbours, torch.int32),
                starts=self._address(lattice.starts, torch.int32),
                entries=self._address(lattice.entries, torch.int32),
                before=before,
                after=after,
                rows=lattice.rows,
                touched=int(lattice.touched),
                order=self._address(lattice.order, torch.int32),
                d=corners - 1,
                term=index,
            )
            for lattice in kernel.lattices
        ]


def layout(labels: int, half: bool) -> tuple[int, int, torch.dtype]:
    """Give the groups and width of the loop's rows of labels, and the type of the saved marginals."""
    numbers = [ctypes.c_int64() for _ in range(3)]
    native.kernel("df_mean_field_layout", (_INT64, _POINTER, _POINTER, _POINTER))(
        labels, *(ctypes.addressof(number) for number in numbers)
    )
    narrow = half and numbers[2].value == 2
    return numbers[0].value, numbers[1].value, torch.float16 if narrow else torch.float32


def room(scores: Tensor, field: Field) -> tuple[Tensor, Tensor, Tensor]:
    """Give empty tensors for what `forward` gives."""
    groups, width, dtype = layout(int(scores.shape[0]), field.half)
    shape = (field.iterations, groups, scores[0].numel(), width) if field.keep else (0,)
    log_q = torch.empty_like(scores, memory_format=torch.contiguous_format)
    return log_q, scores.new_empty(shape, dtype=dtype), scores.new_zeros((1,), dtype=torch.int32)


def forward(
    scores: Tensor,  # (C, *size)
    initial: Tensor | None,
    field: Field,
) -> tuple[Tensor, Tensor, Tensor]:
    """Give log-marginals (C, *size), the marginals before each iteration where `keep`, and whether there is doubt (1,).

    Doubt: scores hold NaN, Inf, or numbers so far apart that half precision, or any, may not do. All else is then
    without meaning.
    """
    log_q, saved, doubtful = room(scores, field)
    call = FieldCall(scores, initial, field, [None] * len(field.energies))
    call.point("output", log_q)
    call.point("saved", saved, saved.dtype)
    call.point("doubtful", doubtful, torch.int32)
    call.run("df_mean_field_forward")
    return log_q, saved, doubtful


class Kept(NamedTuple):
    """What `forward` took and gave."""

    scores: Tensor
    initial: Tensor | None
    log_q: Tensor
    saved: Tensor


class Gradients(NamedTuple):
    """What `backward` gives."""

    scores: Tensor
    initial: Tensor | None
    energies: list[Tensor]
    errors: Tensor | None  # (T, G, N, W) dL/dlogits after each iteration, for gradients by widths and features
    grids: list[GridKernel]
    lattices: list[LatticeKernel]


def backward(kept: Kept, field: Field, gradient: Tensor, *, by_energies: bool, by_kernels: bool) -> Gradients:
    """Give the gradients by scores, start and energies, and what those by widths and features are made of."""
    scores, initial, log_q, saved = kept
    sums = [torch.zeros_like(x, dtype=torch.float64, memory_format=torch.contiguous_format) for x in field.energies]
    call = FieldCall(scores, initial, field, sums if by_energies else [None] * len(sums))
    by_scores = torch.empty_like(log_q)
    by_initial = None if initial is None else torch.empty_like(log_q)
    errors = torch.empty_like(saved, dtype=torch.float32) if by_kernels else None
    call.point("output", log_q)
    call.point("saved", saved, saved.dtype)
    call.point("grad_output", gradient.contiguous())
    call.point("grad_scores", by_scores)
    call.point("grad_initial", by_initial)
    call.point("errors", errors)
    call.run("df_mean_field_backward")
    energies = [total.to(energy) for total, energy in zip(sums, field.energies, strict=True)]
    return Gradients(by_scores, by_initial, energies, errors, call.grids, call.lattices)


class Sides(NamedTuple):
    """What `lattice_moments` are added to: A is ahead of the filter, B behind it."""

    cross: Tensor  # (d,) float64
    ahead: Tensor  # (N,)
    behind: Tensor  # (N,)


def lattice_moments(
    a: Tensor,  # (G, N, W) float32
    b: Tensor,  # (G, N, W) float32 or as the loop saved it
    lattice: Lattice,
    features: Tensor,  # (d, N) f
    of_a: Tensor,  # (N,)
    of_b: Tensor,  # (N,)
    sums: Sides,
) -> None:
    """Add sum_i f_i A_i·K(f B)_i to `cross`, A·KB to `ahead` and B·K'A to `behind` for A = of_a a, B = of_b b.

    K is the lattice's filter without its scale.
    """
    kept = [x.contiguous() for x in (a, b, *lattice.parts, features, of_a, of_b)]
    kinds = [torch.float32, b.dtype, torch.int32, torch.float32, *[torch.int32] * 3, *[torch.float32] * 3]
    address = [native.pointer(x, kind) for x, kind in zip(kept, kinds, strict=True)]
    job = LatticeMomentsJob(
        *address[:2],
        *_shape(a, b),
        *address[2:7],
        lattice.rows,
        len(features),
        *address[7:],
        native.pointer(sums.cross, torch.float64),
        native.pointer(sums.ahead, torch.float32),
        native.pointer(sums.behind, torch.float32),
    )
    native.run("df_lattice_moments", job)


def line_pairs(
    a: Tensor,  # (G, N, W) float32
    b: Tensor,  # (G, N, W)
    lines: tuple[int, int, int, int],  # how many, their length, from one to the next, from point to point
    taps: Tensor,  # (n,) the kernel along a line from its middle on
    before: Tensor,  # (length,)
    after: Tensor,  # (length,)
    pairs: Tensor,  # (lines, 2 radius + 1) float64
) -> None:
    """Add the products of each line of `a` with the lines of `b` around it, filtered along themselves, to `pairs`."""
    kept = [x.contiguous() for x in (a, b, taps, before, after)]
    address = [native.pointer(x, b.dtype if x is kept[1] else torch.float32) for x in kept]
    job = GridPairsJob(
        *address[:2],
        *_shape(a, b),
        *lines,
        *address[2:],
        len(taps),
        pairs.shape[1] // 2,
        native.pointer(pairs, torch.float64),
    )
    native.run("df_grid_pairs", job)


def _shape(a: Tensor, b: Tensor) -> tuple[int, ...]:
    return (*a.shape, int(b.dtype == torch.float16), torch.get_num_threads())
