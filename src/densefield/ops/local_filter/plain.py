"""The affinity filter in plain torch, for every device: a shift for each half offset; masks serve both directions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from densefield.ops.local_filter.filter import Filter
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


def forward(
    by: Filter,
    scores: Tensor,  # (B, C, H, W)
    embeddings: Tensor,  # (B, D, H, W)
    keep: bool,
) -> tuple[Tensor, list[Tensor]]:
    """Filter; give the result and, for the gradient where `keep`, masks, factors and the maps between iterations."""
    masks = pair_distances(by.window, embeddings, by.options.distance).mul_(-by.scale).exp_()
    clear_outside(by.window, masks)
    result, kept = apply(by, scores, masks, keep)
    return result, [masks, *kept] if keep else []


def apply(
    by: Filter,
    scores: Tensor,  # (B, C, H, W)
    masks: Tensor,  # (B, pairs, H, W)
    keep: bool,
) -> tuple[Tensor, list[Tensor]]:
    """Apply masks; give the result and, where `keep`, factors and the maps between iterations."""
    factor = scores.new_empty(0)
    if by.options.normalize:
        ones = scores.new_ones((by.window.batch, 1, by.window.height, by.window.width))
        norm = (_filter_once(by, masks, ones) + _spread(by.floor))[:, 0]
        factor = torch.where(norm >= torch.finfo(norm.dtype).tiny, 1 / norm, 0.0)
    values, maps = scores, list[Tensor]()
    for _ in range(by.options.iterations):
        values = _filter_once(by, masks, values)
        if by.options.normalize:
            values.mul_(factor[:, None])
        if keep:
            maps.append(values)
    return values, [factor, *maps[:-1]] if keep else []


def _filter_once(
    by: Filter,
    masks: Tensor,  # (B, pairs, H, W)
    values: Tensor,  # (B, C, H, W)
) -> Tensor:  # (B, C, H, W)
    result = values * _spread(by.centre)
    for k, (p, q) in enumerate(by.window.slices()):
        mask = masks[:, k : k + 1][p]
        result[p].addcmul_(mask, values[q])
        result[q].addcmul_(mask, values[p])
    return result


def _spread(value: Tensor | float) -> Tensor | float:
    """Over the channels, where it varies."""
    return value[:, None] if isinstance(value, Tensor) else value


def backward(
    by: Filter,
    gradient: Tensor,  # (B, C, H, W)
    scores: Tensor,  # (B, C, H, W)
    embeddings: Tensor,  # (B, D, H, W)
    kept: Sequence[Tensor],  # the result, masks, factors and maps
    wanted: Sequence[bool],  # by scores, by embeddings, by scale
) -> tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None, Tensor | float]:
    """Give the gradients by scores, embeddings, centre (dot product only) and floor, and by scale without these two."""
    result, masks, factor, *maps = kept
    by_scores, by_masks = wanted[0], wanted[1] or wanted[2]
    values = [scores, *maps, result]  # before each iteration, and after the last
    sums = torch.zeros_like(masks) if by_masks else None
    by_centre = masks.new_zeros(masks.shape[:1] + masks.shape[2:]) if isinstance(by.centre, Tensor) else None
    dots = torch.zeros_like(factor) if by.options.normalize else None
    for step in reversed(range(by.options.iterations)):
        h = gradient if dots is None else gradient * factor[:, None]
        before, after = values[step], values[step + 1]
        if sums is not None:
            if dots is not None:
                dots += (h * after).sum(1)
            if by_centre is not None:
                by_centre += (h * before).sum(1)
            for k, (p, q) in enumerate(by.window.slices()):
                sums[:, k][p].add_((h[p] * before[q]).sum(1)).add_((h[q] * before[p]).sum(1))
        if step > 0 or by_scores:
            gradient = _filter_once(by, masks, h)
    gradient_scores = gradient if by_scores else None
    if sums is None:
        return gradient_scores, None, None, None, 0.0
    if dots is not None:
        for k, (p, q) in enumerate(by.window.slices()):
            sums[:, k][p].sub_(dots[p]).sub_(dots[q])
        if by_centre is not None:
            by_centre -= dots
    weights = sums.mul_(masks).neg_()
    total: Tensor | float = 0.0
    if wanted[2]:
        total = (weights * pair_distances(by.window, embeddings, by.options.distance)).sum(dtype=torch.float64)
    by_embeddings = pair_gradient(by.window, embeddings, weights, by.scale, by.options.distance)
    return gradient_scores, by_embeddings, by_centre, None if dots is None else -dots, total


def clear_outside(window: Window, masks: Tensor) -> None:
    """Zero what no pair reached: those places hold exp(0)."""
    for k, (p, _) in enumerate(window.slices()):
        _, rows, columns = p
        masks[:, k, rows.stop :] = 0
        masks[:, k, :, : columns.start] = 0
        masks[:, k, :, columns.stop :] = 0
