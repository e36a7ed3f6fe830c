"""`build_lattice` and `lattice_filter`: the ops of a permutohedral lattice, and their gradients."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from densefield.checks import check, check_tensor, whole_number
from densefield.ops.memory import check_memory
from densefield.ops.native import available
from densefield.ops.operator import operator
from densefield.ops.permutohedral import native, plain
from densefield.ops.permutohedral.lattice import Lattice, joined

MAX_FEATURES = 16


def build_lattice(
    features: Tensor,  # (B, d, N), divided by the kernel's widths
    fill_rows: int = 0,
) -> Lattice:
    """Find the lattice points around each pixel's feature vector (Adams, Baek, Davis 2010, section 3), 1 <= d <= 16.

    The lattice depends on `features` only: build once, filter any number of channels any number of times. Not
    differentiable; `lattice_filter` is given `features` again for that. Points one step away from those that pixels
    touch are added where an item's lattice then has at most `fill_rows` points: blurring loses less over its edges. An
    item's part is the same whatever else is in the batch. Raises `InputError` for more than 16 dimensions, values that
    are not finite, no pixels, or features so wide that the lattice's coordinates or memory overflow.
    """
    check_tensor("features", features, "a tensor (B, d, N)")
    fill_rows = whole_number("fill_rows", fill_rows, 0, 2**63 - 1)
    _check_shape(features)
    return joined([build_item(item, fill_rows) for item in features.detach().split(1)])


def build_item(
    features: Tensor,  # (1, d, N)
    fill_rows: int = 0,
    *,
    widths: Tensor | None = None,  # (d,)
    stretch: float = 1.0,
    entries: bool = True,
) -> Lattice:
    """Give the lattice of `features / widths * stretch`.

    Without `entries`, a third of its memory and of the time to build it, the lattice serves filters of up to four
    channels and a mean field's forward pass.
    Raises `InputError` as `build_lattice`.
    """
    _check_shape(features)
    wide = features.float() if features.dtype.itemsize < 4 else features
    return Lattice(*_build(wide, widths, stretch, fill_rows, entries))


def _check_shape(features: Tensor) -> None:
    check(
        features.dim() == 3 and features.shape[0] > 0 and features.shape[2] > 0,
        f"features: wanted shape (B, d, N) with at least one pixel, received {tuple(features.shape)}",
    )
    check(features.is_floating_point(), f"features: wanted a floating-point tensor, received {features.dtype}")
    d = features.shape[1]
    check(1 <= d <= MAX_FEATURES, f"features: wanted 1 to {MAX_FEATURES} dimensions, received {d}")
    batch, points = features.shape[0], features.shape[2]
    check(
        batch * points * (d + 1) < 2**31,
        f"features: {batch} x {points} pixels of {d} dimensions need {batch * points * (d + 1)} lattice corners, "
        "wanted fewer than 2^31",
    )


@operator("lattice_build")
def _build(
    features: Tensor, widths: Tensor | None, stretch: float, fill_rows: int, entries: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Build on any device."""
    return plain.build(features, widths, stretch, fill_rows, entries)


@_build.kernel("cpu")
def _(
    features: Tensor, widths: Tensor | None, stretch: float, fill_rows: int, entries: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    batch, d, points = features.shape
    needed = batch * points * (d + 1) * (8 + 2 * features.element_size())
    check_memory(needed, f"a lattice over {batch} x {points} pixels")
    build = native.build if available() else plain.build
    return build(features, widths, stretch, fill_rows, entries)


@_build.fake
def _(
    features: Tensor, widths: Tensor | None, stretch: float, fill_rows: int, entries: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    batch, d, points = features.shape
    rows = torch.library.get_ctx().new_dynamic_size()

    def indices(shape: Sequence[int | torch.SymInt]) -> Tensor:
        return features.new_empty(shape, dtype=torch.int32)

    return (
        indices((batch, points, d + 1)),
        features.new_empty((batch, points, d + 1)),
        indices((d + 1, rows, 2)),
        indices((rows + 1 if entries else 0,)),
        indices((batch * points * (d + 1) if entries else 0,)),
        features.new_empty((batch,), dtype=torch.int64),
        indices((torch.library.get_ctx().new_dynamic_size(),)),
    )


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
    parts = [*lattice.parts]
    parts[1] = lattice.weights.to(wide.dtype)
    result: Tensor = _filter(wide, features, parts, reverse)
    return result.to(values.dtype)


@operator("lattice_filter")
def _filter(values: Tensor, features: Tensor | None, parts: Sequence[Tensor], reverse: bool) -> Tensor:
    """Filter on any device; `features` serve the backward pass alone."""
    return plain.filtered(values, parts, reverse)


@_filter.kernel("cpu")
def _(values: Tensor, features: Tensor | None, parts: Sequence[Tensor], reverse: bool) -> Tensor:
    return (native.filtered if available() else plain.filtered)(values, parts, reverse)


@_filter.fake
def _(values: Tensor, features: Tensor | None, parts: Sequence[Tensor], reverse: bool) -> Tensor:
    return torch.empty_like(values, memory_format=torch.contiguous_format)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    values, features, parts, reverse = inputs
    ctx.save_for_backward(values, features, *parts)
    ctx.reverse = reverse


def _backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
    values, features, *parts = ctx.saved_tensors

    def forth(x: Tensor) -> Tensor:
        return _filter(x, features, parts, ctx.reverse)

    def back(x: Tensor) -> Tensor:
        return _filter(x, features, parts, not ctx.reverse)

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
    return by_values, by_features, [None] * len(parts), None


_filter.gradient(_backward, _setup_context)
