"""`lattice_filter`: Gaussian filtering by a built lattice, the op behind it, its gradients."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from densefield.checks import check
from densefield.ops import idle_threads, native
from densefield.ops.operator import operator
from densefield.ops.permutohedral.lattice import MANY_POINTS, Lattice
from densefield.ops.permutohedral.memory import check_memory
from densefield.ops.permutohedral.torch_path import filter_by_gathering


def lattice_filter(
    values: Tensor,  # (B, C, N)
    lattice: Lattice,
    *,
    features: Tensor | None = None,  # (B, d, N), those that the lattice was built from
    reverse: bool = False,
) -> Tensor:  # (B, C, N)
    """Approximate sum_j exp(-|f_i - f_j|² / 2) values_j: splat, blur, slice (Adams, Baek, Davis 2010).

    As the original: scaled by 1 / (1 + 2^-d), lattice points that no pixel touches are left out of the blur.
    `reverse` blurs in the reverse order, which is the transpose. Differentiable by `values` exactly, and by `features`
    where given through moments of the same filter, dk/df_i = -(f_i - f_j) k. Half types are computed in float32.
    Raises `InputError` where shapes do not fit the lattice.
    """
    batch, points, corners = lattice.vertices.shape
    check(
        values.dim() == 3 and values.shape[0] == batch and values.shape[2] == points and values.shape[1] > 0,
        f"values: wanted shape ({batch}, C, {points}) to fit the lattice, received {tuple(values.shape)}",
    )
    check(values.is_floating_point(), f"values: wanted a floating-point tensor, received {values.dtype}")
    if features is not None:
        check(
            tuple(features.shape) == (batch, corners - 1, points),
            f"features: wanted shape {(batch, corners - 1, points)}, received {tuple(features.shape)}",
        )
    wide = values.float() if values.dtype.itemsize < 4 else values
    vertices, weights, *others = lattice.parts
    result: Tensor = _filter(wide, features, vertices, weights.to(wide.dtype), *others, reverse)
    return result.to(values.dtype)


@operator("lattice_filter")
def _filter(
    values: Tensor,
    features: Tensor | None,
    vertices: Tensor,
    weights: Tensor,
    neighbours: Tensor,
    starts: Tensor,
    entries: Tensor,
    reverse: bool,
) -> Tensor:
    """Filter on any device; `features` serve the backward pass alone."""
    return filter_by_gathering(values, vertices, weights, neighbours, reverse)


@_filter.kernel("cpu")
def _(
    values: Tensor,
    features: Tensor | None,
    vertices: Tensor,
    weights: Tensor,
    neighbours: Tensor,
    starts: Tensor,
    entries: Tensor,
    reverse: bool,
) -> Tensor:
    if not native.available():
        return filter_by_gathering(values, vertices, weights, neighbours, reverse)
    batch, channels, points = values.shape
    corners, rows = vertices.shape[2], neighbours.shape[1]
    width = min(24, channels)
    check_memory(values.element_size() * width * (2 * rows + batch * points), f"filtering on {rows} lattice points")
    values, vertices, weights, neighbours = (x.contiguous() for x in (values, vertices, weights, neighbours))
    result = torch.empty_like(values)
    if batch * points > MANY_POINTS:
        idle_threads.send_away()
    job = LatticeFilterJob(
        values=native.pointer(values, values.dtype),
        output=native.pointer(result, values.dtype),
        batch=batch,
        channels=channels,
        points=points,
        rows=rows,
        vertices=native.pointer(vertices, torch.int32),
        weights=native.pointer(weights, values.dtype),
        neighbours=native.pointer(neighbours, torch.int32),
        starts=native.pointer(starts, torch.int32),
        entries=native.pointer(entries, torch.int32),
        scale=1 / (1 + 2.0 ** (1 - corners)),
        d=corners - 1,
        reverse=reverse,
        type=native.number_of(values.dtype),
        n_threads=torch.get_num_threads(),
    )
    native.run("df_lattice_filter", job)
    return result


class LatticeFilterJob(native.Job):
    """Values, and the lattice that filters them."""

    _fields_ = (
        *((name, native.POINTER) for name in ("values", "output")),
        *((name, native.INT64) for name in ("batch", "channels", "points", "rows")),
        *((name, native.POINTER) for name in ("vertices", "weights", "neighbours", "starts", "entries")),
        ("scale", native.DOUBLE),
        *((name, native.INT32) for name in ("d", "reverse", "type", "n_threads")),
    )


@_filter.fake
def _(
    values: Tensor,
    features: Tensor | None,
    vertices: Tensor,
    weights: Tensor,
    neighbours: Tensor,
    starts: Tensor,
    entries: Tensor,
    reverse: bool,
) -> Tensor:
    return torch.empty_like(values, memory_format=torch.contiguous_format)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    values, features, *parts, reverse = inputs
    ctx.save_for_backward(values, features, *parts)
    ctx.reverse = reverse


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
    values, features, *parts = ctx.saved_tensors

    def forth(x: Tensor) -> Tensor:
        return _filter(x, features, *parts, ctx.reverse)

    def back(x: Tensor) -> Tensor:
        return _filter(x, features, *parts, not ctx.reverse)

    by_features = None
    by_values = back(gradient) if any(ctx.needs_input_grad[:2]) else None
    if ctx.needs_input_grad[1]:
        # Moments: K(f v) is the kernel's sum with f_j inside; only differences count, so centring keeps digits.
        centred = (features - features.mean(-1, keepdim=True)).to(values.dtype)
        out = forth(values)
        parts_by_axis = []
        for feature in centred.unbind(1):
            f = feature[:, None]
            ahead = gradient * (f * out - forth(f * values))
            behind = values * (f * by_values - back(f * gradient))
            parts_by_axis.append(-(ahead + behind).sum(1))
        by_features = torch.stack(parts_by_axis, 1).to(features.dtype)
    return by_values, by_features, *([None] * 6)


_filter.gradient(_backward, _setup_context)
