"""Full precision under `torch.autocast`: our ops compute in the type of their tensors, float32 or float64.

Autocast narrows products of matrices alone among what is used here, so that these go through this file.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def without_autocast(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Switch autocast off for tensors of a device, where it is on."""
    if not is_autocast(device):
        return contextlib.nullcontext()
    return torch.autocast(device.type, enabled=False)


def is_autocast(device: torch.device) -> bool:
    """Whether autocast is on for tensors of a device."""
    kind = device.type
    return torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)


def matmul(a: Tensor, b: Tensor) -> Tensor:
    """`a @ b`."""
    return _exactly(torch.matmul, a, b)


def cholesky(matrix: Tensor) -> Tensor:  # (d, d)
    """The lower factor of a positive definite matrix; NaN where it is not."""

    def factor(given: Tensor) -> Tensor:
        found, failed = torch.linalg.cholesky_ex(given)
        return torch.where(failed == 0, found, torch.nan)

    return _exactly(factor, matrix)


def solve_lower(factor: Tensor, right: Tensor) -> Tensor:
    """`factor`⁻¹ `right` for a lower triangular factor."""

    def solve(lower: Tensor, values: Tensor) -> Tensor:
        return torch.linalg.solve_triangular(lower, values, upper=False)

    return _exactly(solve, factor, right)


def _exactly(compute: Callable[..., Tensor], *tensors: Tensor) -> Tensor:
    if not is_autocast(tensors[0].device):
        return compute(*tensors)
    result: Tensor = _Exact.apply(compute, *tensors)
    return result


class _Exact(torch.autograd.Function):
    """`compute(*tensors)` without autocast, its gradient likewise, and that one's."""

    @staticmethod
    def forward(compute: Callable[..., Any], *tensors: Tensor) -> Any:
        with without_autocast(tensors[0].device):
            return compute(*tensors)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        compute, *tensors = inputs
        ctx.compute = compute
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        count, compute = len(gradients), ctx.compute

        def pull(*tensors: Tensor) -> Any:
            output, *rest = torch.func.vjp(compute, *tensors[count:])
            return rest[0](tensors[:count] if isinstance(output, tuple) else tensors[0])

        return None, *_Exact.apply(pull, *gradients, *ctx.saved_tensors)
