"""Exact Gaussian filtering on the grid: the public function, the op `densefield::gaussian_filter` and its gradients."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from densefield.checks import InputError, check, check_tensor, shown
from densefield.ops.gaussian import native, plain
from densefield.ops.native import serves
from densefield.ops.operator import operator


def gaussian_filter(
    values: Tensor,  # (B, C, *spatial)
    theta: float | Sequence[float] | Tensor,  # one width in pixels for all axes, or one an axis
    *,
    normalize: bool = False,
) -> Tensor:  # (B, C, *spatial)
    """Filter over any number of spatial axes: out(p) = sum_q exp(-sum_a (p_a - q_a)² / (2 theta_a²)) values(q).

    Exact up to float rounding: per axis, weights below half of the type's eps are cut. Nothing lies outside the grid.
    With `normalize`, the result is divided by the filter of ones, so that constants stay as they are. Differentiable
    twice by `values` and by `theta` (a tensor), so that widths can be learned. Half types are computed in float32.
    Raises `InputError` for a wrong shape or type and for a theta that is not positive and finite.
    """
    check_tensor("values", values, "a tensor (B, C, *spatial)")
    check(
        3 <= values.dim() <= 10,
        f"values: wanted shape (B, C, *spatial) with 1 to 8 spatial axes, received {tuple(values.shape)}",
    )
    check(values.is_floating_point(), f"values: wanted a floating-point tensor, received {values.dtype}")
    axes = values.dim() - 2
    widths = _widths(theta, axes)
    wide = values.float() if values.dtype.itemsize < 4 else values
    result: Tensor = _filter(wide, widths, [0] * axes)
    if normalize:
        result = result / _filter(wide.new_ones((1, 1, *values.shape[2:])), widths, [0] * axes)
    return result.to(values.dtype)


def _widths(theta: float | Sequence[float] | Tensor, axes: int) -> Tensor:  # (axes,) float64 on the CPU
    try:
        tensor = theta if isinstance(theta, Tensor) else torch.tensor(theta, dtype=torch.float64, device="cpu")
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise InputError(f"theta: wanted one number or {axes}, received {shown(theta)}") from None
    if tensor.is_complex():  # not check(): to write a tensor out takes half a millisecond
        raise InputError(f"theta: wanted real numbers, received {shown(tensor)}")
    fits = tensor.dim() == 0 or tuple(tensor.shape) in ((1,), (axes,))
    check(fits, f"theta: wanted one number or {axes}, one for each spatial axis, received shape {tuple(tensor.shape)}")
    return tensor.to("cpu", torch.float64).expand(axes)


@operator("gaussian_filter")
def _filter(values: Tensor, theta: Tensor, orders: Sequence[int]) -> Tensor:
    """Filter with the kernel differentiated orders[a] times by theta[a]; any device."""
    widths = _checked(values, theta, orders)
    compute = native.filter_grid if serves(values) else plain.filter_grid
    return compute(values, widths, orders)


@_filter.fake
def _(values: Tensor, theta: Tensor, orders: Sequence[int]) -> Tensor:
    return torch.empty_like(values, memory_format=torch.contiguous_format)


def _checked(values: Tensor, theta: Tensor, orders: Sequence[int]) -> list[float]:
    axes = values.dim() - 2
    check(
        values.dtype in (torch.float32, torch.float64),
        f"values: wanted float32 or float64, received {values.dtype}",
    )
    check(
        axes >= 1 and tuple(theta.shape) == (axes,) and len(orders) == axes,
        f"theta, orders: wanted one entry for each spatial axis of values {tuple(values.shape)}, "
        f"received {tuple(theta.shape)} and {len(orders)}",
    )
    check(all(0 <= order <= 2 for order in orders), f"orders: wanted 0, 1 or 2 an axis, received {list(orders)}")
    widths = [float(width) for width in theta.tolist()]
    check(
        all(width > 0 and math.isfinite(width) for width in widths),
        f"theta: wanted positive finite widths in pixels, received {widths}",
    )
    return widths


def _setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Sequence[int]], output: Tensor) -> None:
    values, theta, orders = inputs
    ctx.save_for_backward(values, theta)
    ctx.orders = list(orders)


def _backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
    values, theta = ctx.saved_tensors
    by_values = by_theta = None
    if ctx.needs_input_grad[0]:
        by_values = _filter(gradient, theta, ctx.orders)  # the kernel is symmetric: the filter is its own adjoint
    if ctx.needs_input_grad[1]:
        raised = [[o + (a == b) for b, o in enumerate(ctx.orders)] for a in range(len(ctx.orders))]
        sums = [(gradient * _filter(values, theta, orders)).sum(dtype=theta.dtype) for orders in raised]
        by_theta = torch.stack(sums).to(theta.device)  # the widths stay on the CPU, wherever the values are
    return by_values, by_theta, None


_filter.gradient(_backward, _setup_context)
