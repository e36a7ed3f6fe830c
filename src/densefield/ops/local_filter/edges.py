"""What the sum of masks holds beside pairs of two pixels: the centre, and places outside the image."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from densefield.ops.local_filter.window import Window


@dataclass(frozen=True)
class Edges:
    """The centre's mask and the floor (eps, outside masks) under the sum of masks; tensors where they vary."""

    centre: Tensor | None
    centre_value: float
    floor: Tensor | None
    floor_value: float


def edges(
    window: Window,
    embeddings: Tensor,  # (B, D, H, W)
    scale: float,
    *,
    distance: str,
    normalize: bool,
    eps: float,
    include_center: bool,
    border: str,
) -> Edges:
    """Compute both from the options."""
    centre = torch.exp(scale * embeddings.square().sum(1)) if include_center and distance == "dot" else None
    floor = None
    if normalize and border != "valid":
        count = window.outside(embeddings.device, embeddings.dtype)
        if border == "published" or distance == "dot":
            floor = (count + eps).expand(embeddings.shape[0], *count.shape).contiguous()
        else:
            floor = count * torch.exp(-scale * distances_from_zero(embeddings, distance)) + eps
    return Edges(centre, float(include_center), floor, eps)


def add_edge_gradients(
    window: Window,
    embeddings: Tensor,  # (B, D, H, W)
    scale: float,
    by_centre: Tensor | None,  # (B, H, W), where the centre depends on the embeddings
    by_floor: Tensor | None,  # (B, H, W), where the floor does
    by_embeddings: Tensor | None,  # (B, D, H, W), added to
    *,
    distance: str,
) -> Tensor:  # () float64: the gradient by scale
    """Carry the gradients of `edges` to the embeddings (in place) and to the scale (returned)."""
    by_scale = torch.zeros((), dtype=torch.float64, device=embeddings.device)
    if by_centre is not None:  # exp(scale |e|²)
        squares = embeddings.square().sum(1)
        weight = by_centre * torch.exp(scale * squares)
        by_scale = by_scale + (weight * squares).sum(dtype=torch.float64)
        if by_embeddings is not None:
            by_embeddings.addcmul_(embeddings, weight[:, None], value=2 * scale)
    if by_floor is not None:  # count exp(-scale |e - 0|)
        distances = distances_from_zero(embeddings, distance)
        count = window.outside(embeddings.device, embeddings.dtype)
        weight = by_floor * count * torch.exp(-scale * distances)
        by_scale = by_scale - (weight * distances).sum(dtype=torch.float64)
        if by_embeddings is not None:
            slope = embeddings.sign() if distance == "l1" else embeddings
            by_embeddings.addcmul_(slope, weight[:, None], value=-scale)
    return by_scale


def distances_from_zero(
    embeddings: Tensor,  # (B, D, H, W)
    distance: str,
) -> Tensor:  # (B, H, W)
    """Give the distance `l1` or `l2` of each embedding from 0."""
    return embeddings.abs().sum(1) if distance == "l1" else 0.5 * embeddings.square().sum(1)
