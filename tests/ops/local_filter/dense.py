"""The affinity filter by the whole matrix of pixel pairs: obviously right, slow."""

from __future__ import annotations

import torch
from torch import Tensor


def dense_filter(
    scores: Tensor,  # (B, C, H, W)
    embeddings: Tensor,  # (B, D, H, W)
    scale: Tensor,  # ()
    *,
    window: int = 9,
    rate: int = 1,
    iterations: int = 1,
    distance: str = "l1",
    normalize: bool = True,
    eps: float = 0.0,
    include_center: bool = True,
    border: str = "valid",
) -> Tensor:  # (B, C, H, W)
    """Filter by the (places, places) matrix of masks; autograd goes through.

    For the borders `zero` and `published` the image is padded by the window's reach with embeddings and scores of 0.
    """
    height, width = scores.shape[2:]
    reach = window // 2 * rate
    if border != "valid":
        scores, embeddings = (torch.nn.functional.pad(x, (reach,) * 4) for x in (scores, embeddings))
    rows, columns = scores.shape[2:]
    places = grid(rows, columns, scores.device)
    offset = places[:, None] - places[None, :]  # (N, N, 2)
    seen = ((offset.abs() <= reach) & (offset % rate == 0)).all(-1)
    if not include_center:
        seen = seen & (offset != 0).any(-1)
    distances = pair_distances(embeddings, distance)
    if border == "published":
        inner = inner_places(places, rows, columns, reach)
        distances = torch.where(inner[:, None] & inner[None, :], distances, 0.0)
    masks = torch.where(seen, torch.exp(-scale * distances), 0.0)
    values = scores.flatten(2).transpose(1, 2)  # (B, N, C)
    norm = masks.sum(-1, keepdim=True) + eps
    alive = norm > 0
    for _ in range(iterations):
        result = masks @ values
        if normalize:
            result = torch.where(alive, result / torch.where(alive, norm, 1.0), 0.0)
        values = result
        if border != "valid":
            values = values * inner_places(places, rows, columns, reach)[:, None]
    result = values.transpose(1, 2).unflatten(2, (rows, columns))
    return result if border == "valid" else result[..., reach : reach + height, reach : reach + width]


def pair_distances(
    embeddings: Tensor,  # (B, D, H, W)
    distance: str,
) -> Tensor:  # (B, N, N)
    """Give the distance of every pair of pixels."""
    values = embeddings.flatten(2).transpose(1, 2)  # (B, N, D)
    if distance == "dot":
        return -values @ values.transpose(1, 2)
    difference = values[:, :, None] - values[:, None]
    return difference.abs().sum(-1) if distance == "l1" else 0.5 * difference.square().sum(-1)


def grid(rows: int, columns: int, device: torch.device) -> Tensor:  # (N, 2)
    return torch.cartesian_prod(*(torch.arange(count, device=device) for count in (rows, columns)))


def inner_places(places: Tensor, rows: int, columns: int, reach: int) -> Tensor:  # (N,) bool
    size = torch.tensor([rows, columns], device=places.device)
    return ((places >= reach) & (places < size - reach)).all(-1)
