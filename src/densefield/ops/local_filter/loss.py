"""The pair loss, hinges on the distances of pairs of pixels: the op behind `losses.embedding_loss`."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from densefield.checks import check_finite
from densefield.derivatives import differentiable_once
from densefield.ops import native
from densefield.ops.local_filter import kernels, shifts
from densefield.ops.local_filter.edges import distances_from_zero
from densefield.ops.local_filter.window import DISTANCES, Window
from densefield.ops.operator import operator

_LEFT_OUT = -(2**31)  # the label, inside, of pixels whose pairs are not counted


class PairLossJob(native.Job):
    """Embeddings and labels to the loss and its gradient."""

    _fields_ = (
        *((name, native.POINTER) for name in ("embeddings", "labels", "gradient", "weight", "loss", "count")),
        ("shape", native.INT64 * 5),
        ("channels", native.INT64),
        *((name, native.DOUBLE) for name in ("alpha", "beta", "places")),
        *((name, native.INT32) for name in ("distance", "squared", "type", "n_threads")),
    )


@operator("pair_loss")
def pair_loss(
    embeddings: Tensor,  # (B, D, H, W) float32 or float64
    target: Tensor,  # (B, H, W) integers
    ignore_index: int,
    window: int,
    rate: int,
    alpha: float,
    beta: float,
    distance: str,
    border: str,
    squared: bool,
    mean: bool,
    with_gradient: bool,
) -> tuple[Tensor, Tensor]:
    """Give the loss over ordered pairs and, in the same call, its gradient by the embeddings (empty if not wanted)."""
    labels = _labels(target, ignore_index)
    geometry = Window.over(embeddings, window, rate)
    embeddings = embeddings.contiguous()
    inner = _native_pairs if embeddings.device.type == "cpu" and native.available() else _torch_pairs
    outside, edge_slopes, places = 0.0, None, 0.0
    if border != "valid":
        outside, edge_slopes = _outside_pairs(geometry, embeddings, labels, alpha, beta, distance, border, squared)
        places = float(((labels != _LEFT_OUT) * geometry.outside(embeddings.device, torch.float64)).sum())
    weight = None if mean else 1.0
    if mean and border == "published":  # divides by all places: centres, which lose nothing, and what is left out
        weight = 1.0 / (geometry.batch * window * window * geometry.height * geometry.width)
    total, weight, gradient = inner(
        geometry,
        embeddings,
        labels,
        alpha=alpha,
        beta=beta,
        distance=distance,
        squared=squared,
        weight=weight,
        places=places,
        with_gradient=with_gradient,
    )
    loss = torch.as_tensor((2 * total + outside) * weight, dtype=embeddings.dtype, device=embeddings.device)
    if gradient is None:
        return loss, embeddings.new_empty(0)
    if edge_slopes is not None:
        direction = embeddings.sign() if distance == "l1" else embeddings
        gradient.addcmul_(direction, edge_slopes[:, None], value=weight)
    return loss, gradient


@pair_loss.fake
def _(
    embeddings: Tensor,
    target: Tensor,
    ignore_index: int,
    window: int,
    rate: int,
    alpha: float,
    beta: float,
    distance: str,
    border: str,
    squared: bool,
    mean: bool,
    with_gradient: bool,
) -> tuple[Tensor, Tensor]:
    gradient = torch.empty_like(embeddings, memory_format=torch.contiguous_format)
    return embeddings.new_empty(()), gradient if with_gradient else embeddings.new_empty(0)


def _labels(target: Tensor, ignore_index: int) -> Tensor:  # (B, H, W) int32, _LEFT_OUT where ignored
    if target.device.type != "cpu":
        return torch.where(target == ignore_index, _LEFT_OUT, target).to(torch.int32).contiguous()
    # Not by torch: its threads would go on spinning beside the kernel's.
    given = target.numpy()
    labels = given.astype(np.int32, order="C")
    labels[given == ignore_index] = _LEFT_OUT
    return torch.from_numpy(labels)


# Both give the loss of unordered pairs, the weight of an ordered pair (that given, or by default one over the number of
# pairs counted and of places outside), and the gradient of the ordered pairs' weighted loss if wanted.


def _native_pairs(
    window: Window,
    embeddings: Tensor,
    labels: Tensor,
    *,
    alpha: float,
    beta: float,
    distance: str,
    squared: bool,
    weight: float | None,
    places: float,
    with_gradient: bool,
) -> tuple[float, float, Tensor | None]:
    gradient = torch.empty_like(embeddings) if with_gradient else None
    total, count, used = ctypes.c_double(0.0), ctypes.c_int64(0), ctypes.c_double(weight or 0.0)
    job = PairLossJob(
        embeddings=native.pointer(embeddings, embeddings.dtype),
        labels=native.pointer(labels, torch.int32),
        gradient=kernels.pointer(gradient, embeddings.dtype),
        weight=ctypes.addressof(used),
        loss=ctypes.addressof(total),
        count=ctypes.addressof(count),
        shape=window.shape(),
        channels=embeddings.shape[1],
        alpha=alpha,
        beta=beta,
        places=places,
        distance=DISTANCES.index(distance),
        squared=squared,
        type=native.number_of(embeddings.dtype),
        n_threads=torch.get_num_threads(),
    )
    try:
        native.run("df_pair_loss", job)
    except ValueError:  # the kernel saw NaN or Inf on its way
        check_finite("embeddings", embeddings)
        raise
    return total.value, used.value, gradient


def _torch_pairs(
    window: Window,
    embeddings: Tensor,
    labels: Tensor,
    *,
    alpha: float,
    beta: float,
    distance: str,
    squared: bool,
    weight: float | None,
    places: float,
    with_gradient: bool,
) -> tuple[float, float, Tensor | None]:
    check_finite("embeddings", embeddings)
    distances = shifts.pair_distances(window, embeddings, distance)
    slopes = torch.zeros_like(distances)
    total = torch.zeros((), dtype=torch.float64, device=embeddings.device)
    count = torch.zeros((), dtype=torch.int64, device=embeddings.device)
    for k, (p, q) in enumerate(window.slices()):
        counted = (labels[p] != _LEFT_OUT) & (labels[q] != _LEFT_OUT)
        value, slope = _hinge(distances[:, k][p], labels[p] == labels[q], counted, alpha, beta, squared)
        slopes[:, k][p] = slope
        total += value.sum(dtype=torch.float64)
        count += counted.sum()
    if weight is None:
        weight = 1.0 / max(2 * int(count) + places, 1.0)
    gradient = shifts.pair_gradient(window, embeddings, slopes, 2 * weight, distance) if with_gradient else None
    return float(total), weight, gradient


def _outside_pairs(
    window: Window,
    embeddings: Tensor,
    labels: Tensor,
    alpha: float,
    beta: float,
    distance: str,
    border: str,
    squared: bool,
) -> tuple[float, Tensor | None]:
    """Give the loss of pairs with places outside, label 0, and its slopes (B, H, W) by the distances from 0."""
    varies = border == "zero" and distance != "dot"
    distances = distances_from_zero(embeddings, distance) if varies else torch.zeros_like(embeddings[:, 0])
    value, slope = _hinge(distances, labels == 0, labels != _LEFT_OUT, alpha, beta, squared)
    places = window.outside(embeddings.device, embeddings.dtype)
    return float((value * places).sum(dtype=torch.float64)), slope * places if varies else None


def _hinge(
    distances: Tensor, same: Tensor, counted: Tensor, alpha: float, beta: float, squared: bool
) -> tuple[Tensor, Tensor]:
    """Give the loss of each distance, and its slope."""
    sign = torch.where(same, 1.0, -1.0).to(distances)
    value = torch.where(same, distances - alpha, beta - distances)
    value = torch.where(counted, value, 0.0).clamp_(min=0)
    return (0.5 * value.square(), value * sign) if squared else (value, sign * (value > 0))


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    embeddings, *_, distance, _, squared, _, _ = inputs
    ctx.straight = distance == "l1" and not squared  # then the gradient's own derivative is 0 almost everywhere
    ctx.save_for_backward(output[1], *([] if ctx.straight else [embeddings]))
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)


def _backward(ctx: Any, by_loss: Tensor | None, _: Tensor | None) -> tuple[Tensor | None, ...]:
    return _scaled(ctx, ctx.saved_tensors, by_loss) if ctx.straight else _scaled_once(ctx, by_loss)


def _scaled(ctx: Any, saved: Sequence[Tensor], by_loss: Tensor | None) -> tuple[Tensor | None, ...]:
    gradient = saved[0]
    if by_loss is None:
        return (None,) * 12
    if type(by_loss) is Tensor and by_loss.device.type == "cpu" and not by_loss.requires_grad and by_loss.item() == 1:
        return (gradient, *(None,) * 11)  # as after loss.backward(): saves a pass over the embeddings
    return (gradient * by_loss, *(None,) * 11)


_scaled_once = differentiable_once("pair_loss", _scaled)
pair_loss.gradient(_backward, _setup_context)
