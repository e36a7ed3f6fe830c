"""The pair loss by the whole matrix of pixel pairs: obviously right, slow."""

from __future__ import annotations

import torch
from torch import Tensor

from drawing import seeded
from ops.local_filter.dense import grid, inner_places, pair_distances


def dense_loss(
    embeddings: Tensor,  # (B, D, H, W)
    target: Tensor,  # (B, H, W)
    *,
    window: int = 9,
    rate: int = 1,
    alpha: float = 0.5,
    beta: float = 2.0,
    distance: str = "l1",
    border: str = "valid",
    squared: bool = False,
    reduction: str = "mean",
    ignore_index: int = 255,
) -> Tensor:  # ()
    """Sum the hinges over the (places, places) matrix of pairs; autograd goes through."""
    batch, _, height, width = embeddings.shape
    reach = window // 2 * rate
    if border != "valid":
        embeddings, target = (torch.nn.functional.pad(x, (reach,) * 4) for x in (embeddings, target))
    rows, columns = embeddings.shape[2:]
    places = grid(rows, columns, embeddings.device)
    offset = places[:, None] - places[None, :]
    seen = ((offset.abs() <= reach) & (offset % rate == 0)).all(-1) & (offset != 0).any(-1)
    distances = pair_distances(embeddings, distance)
    if border != "valid":
        inner = inner_places(places, rows, columns, reach)
        seen = seen & inner[:, None]
        if border == "published":
            distances = torch.where(inner[:, None] & inner[None, :], distances, 0.0)
    labels = target.flatten(1)
    kept = labels != ignore_index
    counted = seen & kept[:, :, None] & kept[:, None, :]
    same = labels[:, :, None] == labels[:, None, :]
    values = torch.where(same, distances - alpha, beta - distances).clamp(min=0)
    total = torch.where(counted, 0.5 * values.square() if squared else values, 0.0).sum()
    if reduction == "sum":
        return total
    if border == "published":
        return total / (batch * window**2 * height * width)
    return total / counted.sum().clamp(min=1)


def random_inputs(
    size: tuple[int, int, int, int], dtype: torch.dtype = torch.float64
) -> tuple[torch.Tensor, torch.Tensor]:
    """Embeddings with many ties, and labels of which a fifth is ignored."""
    batch, depth, height, width = size
    generator = torch.Generator().manual_seed(seeded())
    embeddings = torch.randn(batch, depth, height, width, generator=generator, dtype=torch.float64)
    target = torch.randint(0, 3, (batch, height, width), generator=generator)
    target[torch.rand(batch, height, width, generator=generator) < 0.2] = 255
    return embeddings.mul(4).round().div(8).to(dtype).requires_grad_(), target
