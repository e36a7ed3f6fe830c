"""`pair_distances`: the distances of pairs of pixels as a tensor, for what is made of them besides filtering."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from densefield.ops.local_filter import shifts
from densefield.ops.local_filter.window import Distance, Window, check_embeddings, check_window
from densefield.ops.operator import operator


def pair_distances(
    embeddings: Tensor,  # (B, D, H, W)
    *,
    window: int = 3,
    rate: int = 1,
    distance: Distance = "l1",
) -> Tensor:  # (B, pairs, H, W)
    """Give the distance of each pair of the half window at its first pixel, in the order of `Window.slices`.

    It is 0 where the pair leaves the image. Differentiable once; no copy of the embeddings is kept for each offset.
    Half types give float32. Raises `InputError` for what is no window or no map.
    """
    check_window(window, rate, distance, "valid")
    check_embeddings(embeddings)
    wide = embeddings.to(torch.promote_types(embeddings.dtype, torch.float32))
    result: Tensor = _distances(wide, window, rate, distance)
    return result


@operator("pair_distances")
def _distances(embeddings: Tensor, window: int, rate: int, distance: str) -> Tensor:
    return shifts.pair_distances(Window.over(embeddings, window, rate), embeddings, distance)


@_distances.fake
def _(embeddings: Tensor, window: int, rate: int, distance: str) -> Tensor:
    batch, _, height, width = embeddings.shape
    return embeddings.new_empty((batch, Window.over(embeddings, window, rate).pairs, height, width))


@operator("pair_distances_backward")
def _distances_backward(gradient: Tensor, embeddings: Tensor, window: int, rate: int, distance: str) -> Tensor:
    return shifts.pair_gradient(Window.over(embeddings, window, rate), embeddings, gradient, 1.0, distance)


@_distances_backward.fake
def _(gradient: Tensor, embeddings: Tensor, window: int, rate: int, distance: str) -> Tensor:
    return torch.empty_like(embeddings)


def _setup_context(ctx: Any, inputs: tuple[Tensor, int, int, str], output: Tensor) -> None:
    ctx.save_for_backward(inputs[0])
    ctx.options = inputs[1:]


def _backward(ctx: Any, saved: Sequence[Tensor], gradient: Tensor) -> tuple[Tensor, None, None, None]:
    return _distances_backward(gradient, *saved, *ctx.options), None, None, None


_distances.gradient(_backward, _setup_context, once=True)
