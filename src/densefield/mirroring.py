"""What is read where an image has ended: its pixels again, mirrored at the outermost ones, as often as need be."""

from __future__ import annotations

import torch
from torch import Tensor


def mirrored(start: int, stop: int, length: int) -> Tensor:
    """Indices start … stop-1 folded back into 0 … length-1."""
    index = torch.arange(start, stop, dtype=torch.int64, device="cpu")
    # A tensor, as exporters do not take a remainder by a size that is not known yet.
    period = torch.full((1,), max(2 * (length - 1), 1), dtype=torch.int64, device="cpu")
    index = index.remainder(period)
    return torch.minimum(index, period - index) if length > 1 else torch.zeros_like(index)


def mirrored_window(image: Tensor, rows: tuple[int, int], columns: tuple[int, int]) -> Tensor:
    """Rows and columns start … stop-1 of an image (B, C, H, W), which may lie outside.

    No pixel is read from further away than it would lie, so that a network's reach stays what it is.
    """
    down = mirrored(*rows, image.shape[2]).to(image.device)
    right = mirrored(*columns, image.shape[3]).to(image.device)
    return image.index_select(2, down).index_select(3, right)
