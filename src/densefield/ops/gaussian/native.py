"""The Gaussian filter by its native kernel, csrc/gaussian/gaussian.cpp."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from densefield.ops import native


class GaussianFilterJob(native.Job):
    """Grids, and the kernel along each axis."""

    _fields_ = (
        ("input", native.POINTER),
        ("output", native.POINTER),
        ("planes", native.INT64),
        ("sizes", native.INT64 * 8),
        ("theta", native.DOUBLE * 8),
        ("orders", native.INT64 * 8),
        *((name, native.INT32) for name in ("axes", "type", "n_threads")),
    )


def filter_grid(
    values: Tensor,  # (B, C, *spatial) on the CPU
    theta: Sequence[float],
    orders: Sequence[int],
) -> Tensor:  # (B, C, *spatial)
    """Filter, by the kernel differentiated orders[a] times by theta[a]."""
    values = values.contiguous()
    result = torch.empty_like(values)
    job = GaussianFilterJob(
        input=native.pointer(values, values.dtype),
        output=native.pointer(result, values.dtype),
        planes=values.shape[0] * values.shape[1],
        sizes=tuple(values.shape[2:]),
        theta=tuple(theta),
        orders=tuple(orders),
        axes=values.dim() - 2,
        type=native.number_of(values.dtype),
        n_threads=torch.get_num_threads(),
    )
    native.run("df_gaussian_filter", job)
    return result
