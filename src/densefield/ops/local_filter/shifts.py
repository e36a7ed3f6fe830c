"""The affinity filter in plain torch, for every device: a shift for each half offset; masks serve both directions."""

from __future__ import annotations

import torch
from torch import Tensor

from densefield.ops.local_filter.edges import Edges
from densefield.ops.local_filter.window import Window


def pair_distances(
    window: Window,
    embeddings: Tensor,  # (B, D, H, W)
    distance: str,
) -> Tensor:  # (B, pairs, H, W)
    """Give the distance of each pair at its first pixel; 0 where the pair leaves the image."""
    shape = (window.batch, window.pairs, window.height, window.width)
    result = embeddings.new_zeros(shape)
    for k, (p, q) in enumerate(window.slices()):
        if distance == "dot":
            value = -(embeddings[p] * embeddings[q]).sum(1)
        elif distance == "l1":
            value = (embeddings[p] - embeddings[q]).abs_().sum(1)
        else:
            value = (embeddings[p] - embeddings[q]).square_().sum(1).mul_(0.5)
        result[:, k][p] = value
    return result


def pair_gradient(
    window: Window,
    embeddings: Tensor,  # (B, D, H, W)
    weights: Tensor,  # (B, pairs, H, W)
    scale: float,
    distance: str,
) -> Tensor:  # (B, D, H, W)
    """Give scale * (the sum of weights * distance over pairs) by the embeddings."""
    result = torch.zeros_like(embeddings)
    for k, (p, q) in enumerate(window.slices()):
        weight = weights[:, k : k + 1][p] * scale
        if distance == "dot":
            result[p].addcmul_(weight, embeddings[q], value=-1)
            result[q].addcmul_(weight, embeddings[p], value=-1)
            continue
        slope = embeddings[p] - embeddings[q]
        slope = slope.sign_().mul_(weight) if distance == "l1" else slope.mul_(weight)
        result[p].add_(slope)
        result[q].sub_(slope)
    return result


def _filter_once(
    window: Window,
    masks: Tensor,  # (B, pairs, H, W)
    centre: Tensor | float,  # (B, 1, H, W)
    values: Tensor,  # (B, C, H, W)
) -> Tensor:  # (B, C, H, W)
    result = values * centre
    for k, (p, q) in enumerate(window.slices()):
        mask = masks[:, k : k + 1][p]
        result[p].addcmul_(mask, values[q])
        result[q].addcmul_(mask, values[p])
    return result


def _centre(edges: Edges) -> Tensor | float:
    return edges.centre_value if edges.centre is None else edges.centre[:, None]


def filter_forward(
    window: Window,
    scores: Tensor,  # (B, C, H, W)
    embeddings: Tensor,  # (B, D, H, W)
    scale: float,
    edges: Edges,
    *,
    iterations: int,
    distance: str,
    normalize: bool,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
    """Filter; give the result and, for the gradient where `keep`, masks, factors and the maps between iterations."""
    masks = pair_distances(window, embeddings, distance).mul_(-scale).exp_()
    clear_outside(window, masks)
    result, factor, maps = apply(window, scores, masks, edges, iterations=iterations, normalize=normalize, keep=keep)
    return result, masks if keep else scores.new_empty(0), factor, maps


def apply(
    window: Window,
    scores: Tensor,  # (B, C, H, W)
    masks: Tensor,  # (B, pairs, H, W)
    edges: Edges,
    *,
    iterations: int,
    normalize: bool,
    keep: bool,
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Apply masks; give the result and, where `keep`, factors and the maps between iterations."""
    factor = scores.new_empty(0)
    if normalize:
        ones = scores.new_ones((window.batch, 1, window.height, window.width))
        floor = edges.floor_value if edges.floor is None else edges.floor[:, None]
        norm = (_filter_once(window, masks, _centre(edges), ones) + floor)[:, 0]
        factor = torch.where(norm >= torch.finfo(norm.dtype).tiny, 1 / norm, 0.0)
    values, maps = scores, list[Tensor]()
    for step in range(iterations):
        values = _filter_once(window, masks, _centre(edges), values)
        if normalize:
            values.mul_(factor[:, None])
        if keep and step < iterations - 1:
            maps.append(values)
    return values, factor if keep else scores.new_empty(0), maps


def filter_backward(
    window: Window,
    gradient: Tensor,  # (B, C, H, W)
    scores: Tensor,  # (B, C, H, W)
    embeddings: Tensor,  # (B, D, H, W)
    result: Tensor,  # (B, C, H, W)
    scale: float,
    edges: Edges,
    masks: Tensor,  # (B, pairs, H, W)
    factor: Tensor,  # (B, H, W)
    maps: list[Tensor],  # iterations - 1 of (B, C, H, W)
    *,
    iterations: int,
    distance: str,
    normalize: bool,
    by_scores: bool,
    by_masks: bool,
    by_scale: bool,
) -> tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None, Tensor | float]:
    """Give the gradients by scores, embeddings, centre (dot product only) and floor, and by scale without these two."""
    sums = torch.zeros_like(masks) if by_masks else None
    by_centre = masks.new_zeros(masks.shape[:1] + masks.shape[2:]) if edges.centre is not None else None
    dots = torch.zeros_like(factor) if normalize else None
    for step in reversed(range(iterations)):
        h = gradient * factor[:, None] if normalize else gradient
        before = maps[step - 1] if step > 0 else scores
        after = maps[step] if step < iterations - 1 else result
        if sums is not None:
            if dots is not None:
                dots += (h * after).sum(1)
            if by_centre is not None:
                by_centre += (h * before).sum(1)
            for k, (p, q) in enumerate(window.slices()):
                sums[:, k][p].add_((h[p] * before[q]).sum(1)).add_((h[q] * before[p]).sum(1))
        if step > 0 or by_scores:
            gradient = _filter_once(window, masks, _centre(edges), h)
    gradient_scores = gradient if by_scores else None
    if sums is None:
        return gradient_scores, None, None, None, 0.0
    if dots is not None:
        for k, (p, q) in enumerate(window.slices()):
            sums[:, k][p].sub_(dots[p]).sub_(dots[q])
        if by_centre is not None:
            by_centre -= dots
    weights = sums.mul_(masks).neg_()
    total: Tensor | float = 0.0
    if by_scale:
        total = (weights * pair_distances(window, embeddings, distance)).sum(dtype=torch.float64)
    by_embeddings = pair_gradient(window, embeddings, weights, scale, distance)
    return gradient_scores, by_embeddings, by_centre, None if dots is None else -dots, total


def clear_outside(window: Window, masks: Tensor) -> None:
    """Zero what no pair reached: those places hold exp(0)."""
    for k, (p, _) in enumerate(window.slices()):
        _, rows, columns = p
        masks[:, k, rows.stop :] = 0
        masks[:, k, :, : columns.start] = 0
        masks[:, k, :, columns.stop :] = 0
