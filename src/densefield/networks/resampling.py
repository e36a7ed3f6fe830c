"""Averages over bins and bilinear values as products with matrices: exported, they take any size."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def padded(image: Tensor, period: int, rest: int) -> Tensor:  # (B, C, H, W) -> (B, C, H', W')
    """Zeros below and to the right, the least that make the sides `period`·q + `rest`."""
    # Not as a remainder: so the exporter sees that later strides divide, and no size is a special case.
    height, width = ((length - rest + period - 1) // period * period + rest for length in image.shape[2:])
    return functional.pad(image, (0, width - image.shape[3], 0, height - image.shape[2]))


def bilinear(maps: Tensor, rows: Tensor, columns: Tensor) -> Tensor:  # (B, C, h, w) -> (B, C, len(rows), len(columns))
    """Values between the cells at real positions; outside the first and last cell, theirs."""
    return _weights(rows, maps.shape[2], maps) @ maps @ _weights(columns, maps.shape[3], maps).T


def averages(maps: Tensor, bins: int) -> Tensor:  # (B, C, h, w) -> (B, C, bins, bins)
    """Means over bins × bins parts; part i of n cells is ⌊i n / bins⌋ … ⌈(i + 1) n / bins⌉ − 1, as in torch's own."""
    return _shares(bins, maps.shape[2], maps) @ maps @ _shares(bins, maps.shape[3], maps).T


def _weights(positions: Tensor, length: int, like: Tensor) -> Tensor:  # (positions, length)
    cells = torch.arange(length, dtype=positions.dtype, device=like.device)
    inside = torch.minimum(positions.to(like.device).clamp(min=0), cells[-1:])
    return (1 - (inside[:, None] - cells).abs()).clamp(min=0).to(like.dtype)


def _shares(bins: int, length: int, like: Tensor) -> Tensor:  # (bins, length)
    cells, each = (torch.arange(count, device=like.device) for count in (length, bins))
    first, end = each * length // bins, ((each + 1) * length + bins - 1) // bins
    inside = (cells >= first[:, None]) & (cells < end[:, None])
    return inside.to(like.dtype) / (end - first)[:, None].to(like.dtype)
