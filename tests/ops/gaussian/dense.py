"""The Gaussian filter as its formula: a sum over all pairs of points, uncut, for small grids; autograd goes through."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def dense_filter(
    values: Tensor,  # (B, C, *spatial)
    theta: Tensor,  # (number of spatial axes,)
    orders: Sequence[int] | None = None,
) -> Tensor:  # (B, C, *spatial)
    """Sum values by weights that are a product over axes: `axis_weights` of the axis's distance, width and order."""
    sizes = values.shape[2:]
    points = torch.cartesian_prod(*[torch.arange(size, device=values.device) for size in sizes])
    points = points.reshape(-1, len(sizes)).to(values.dtype)
    weights = torch.ones((len(points), len(points)), dtype=values.dtype, device=values.device)
    for axis, order in enumerate(orders or [0] * len(sizes)):
        weights = weights * axis_weights(points[:, None, axis] - points[None, :, axis], theta[axis], order)
    return (values.flatten(2) @ weights).reshape(values.shape)


def axis_weights(
    distances: Tensor,
    theta: Tensor | float,
    order: int,
) -> Tensor:
    """Give exp(-r²/2 theta²), or its first or second derivative by theta."""
    weights = torch.exp(-0.5 * (distances / theta).square())
    if order == 1:
        return weights * distances.square() / theta**3
    if order == 2:
        return weights * (distances.square() / theta**2 - 3) * distances.square() / theta**4
    return weights
