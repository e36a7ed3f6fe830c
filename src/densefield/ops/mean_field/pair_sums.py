"""The native sums over pairs of points that gradients by kernel widths are made of (csrc/crf/widths.cpp)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from densefield.ops import native
from densefield.ops.permutohedral import Lattice

_POINTER, _INT64, _INT32 = native.POINTER, native.INT64, native.INT32
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


def lattice_moments(
    a: Tensor,  # (G, N, W) float32
    b: Tensor,  # (G, N, W) float32 or as the loop saved it
    lattice: Lattice,
    features: Tensor,  # (d, N) f
    of_a: Tensor,  # (N,)
    of_b: Tensor,  # (N,)
    cross: Tensor,  # (d,) float64
    ahead: Tensor,  # (N,)
    behind: Tensor,  # (N,)
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
        native.pointer(cross, torch.float64),
        native.pointer(ahead, torch.float32),
        native.pointer(behind, torch.float32),
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
