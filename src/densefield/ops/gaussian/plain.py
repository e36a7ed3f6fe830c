"""The Gaussian filter in plain torch, for every device: a matrix of weights an axis."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def kernel_radius(theta: float, order: int, dtype: torch.dtype, size: int) -> int:
    """Give the largest distance kept: beyond, t^(2 order) exp(-t²/2) at t = r/theta is below half of the type's eps.

    Along an axis all that is cut weighs less than eps of the whole (for theta >= 1, than eps / 5): float rounding.
    """
    precision = -math.log(torch.finfo(dtype).eps / 2)
    t2 = 2 * precision
    for _ in range(20):  # a contraction: the fixed point of t² = 2 (precision + order log t²)
        t2 = 2 * (precision + order * math.log(t2))
    return int(min(size - 1, math.sqrt(t2) * theta))


def kernel_weights(
    distances: Tensor,  # (n,), of the type to compute in
    theta: float,
    order: int,
) -> Tensor:  # (n,)
    """Weigh distances r by exp(-r²/2 theta²), or by its first or second derivative by theta."""
    u = (distances / theta).square()
    if order == 1:
        factor = u / theta
    elif order == 2:
        factor = (u.square() - 3 * u) / theta**2
    else:
        factor = torch.ones_like(u)
    return torch.nan_to_num(factor * torch.exp(-0.5 * u), nan=0.0, posinf=0.0)  # u overflows where theta is tiny


def filter_grid(
    values: Tensor,  # (B, C, *spatial)
    theta: Sequence[float],
    orders: Sequence[int],
) -> Tensor:  # (B, C, *spatial)
    """Multiply each axis by its (size, size) matrix of weights, cut at `kernel_radius`."""
    for axis, (width, order) in enumerate(zip(theta, orders, strict=True), start=2):
        size = values.shape[axis]
        weights = kernel_weights(torch.arange(size, dtype=torch.float64, device="cpu"), width, order)
        weights[kernel_radius(width, order, values.dtype, size) + 1 :] = 0.0
        places = torch.arange(size, device=values.device)
        matrix = weights.to(values)[(places[:, None] - places).abs()]
        values = (values.transpose(axis, -1) @ matrix).transpose(axis, -1)
    return values.contiguous()
