"""The pair loss in plain torch: pairs inside the image, and those with places outside."""

from __future__ import annotations

import torch
from torch import Tensor

from densefield.checks import check_finite
from densefield.ops.local_filter.filter import distances_from_zero
from densefield.ops.local_filter.plain import pair_distances, pair_gradient
from densefield.ops.local_filter.window import Window
from densefield.ops.pair_loss.options import LEFT_OUT, Options


def pairs_inside(
    window: Window,
    embeddings: Tensor,  # (B, D, H, W), contiguous
    labels: Tensor,  # (B, H, W) int32
    options: Options,
    weight: float | None,
    places: float,
    with_gradient: bool,
) -> tuple[float, float, Tensor | None]:
    """Do as `native.pairs_inside`."""
    check_finite("embeddings", embeddings)
    distances = pair_distances(window, embeddings, options.distance)
    slopes = torch.zeros_like(distances)
    total = torch.zeros((), dtype=torch.float64, device=embeddings.device)
    count = torch.zeros((), dtype=torch.int64, device=embeddings.device)
    for k, (p, q) in enumerate(window.slices()):
        counted = (labels[p] != LEFT_OUT) & (labels[q] != LEFT_OUT)
        value, slope = _hinge(distances[:, k][p], labels[p] == labels[q], counted, options)
        slopes[:, k][p] = slope
        total += value.sum(dtype=torch.float64)
        count += counted.sum()
    if weight is None:
        weight = 1.0 / max(2 * int(count) + places, 1.0)
    gradient = pair_gradient(window, embeddings, slopes, 2 * weight, options.distance) if with_gradient else None
    return float(total), weight, gradient


def pairs_outside(
    window: Window,
    embeddings: Tensor,
    labels: Tensor,
    options: Options,
) -> tuple[float, Tensor | None]:
    """Give the loss of pairs with places outside, label 0, and its slopes (B, H, W) by the distances from 0."""
    varies = options.border == "zero" and options.distance != "dot"
    distances = distances_from_zero(embeddings, options.distance) if varies else torch.zeros_like(embeddings[:, 0])
    value, slope = _hinge(distances, labels == 0, labels != LEFT_OUT, options)
    places = window.outside(embeddings.device, embeddings.dtype)
    return float((value * places).sum(dtype=torch.float64)), slope * places if varies else None


def _hinge(distances: Tensor, same: Tensor, counted: Tensor, options: Options) -> tuple[Tensor, Tensor]:
    """Give the loss of each distance, and its slope."""
    sign = torch.where(same, 1.0, -1.0).to(distances)
    value = torch.where(same, distances - options.alpha, options.beta - distances)
    value = torch.where(counted, value, 0.0).clamp_(min=0)
    return (0.5 * value.square(), value * sign) if options.squared else (value, sign * (value > 0))
