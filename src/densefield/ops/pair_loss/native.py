"""The pair loss by its native kernel, csrc/window/pair_loss.cpp."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from densefield.checks import check_finite
from densefield.ops import native
from densefield.ops.local_filter.native import pointer
from densefield.ops.local_filter.window import DISTANCES, Window
from densefield.ops.pair_loss.options import Options


class PairLossJob(native.Job):
    """Embeddings and labels to the loss and its gradient."""

    _fields_ = (
        *((name, native.POINTER) for name in ("embeddings", "labels", "gradient", "weight", "loss", "count")),
        ("shape", native.INT64 * 5),
        ("channels", native.INT64),
        *((name, native.DOUBLE) for name in ("alpha", "beta", "places")),
        *((name, native.INT32) for name in ("distance", "squared", "type", "n_threads")),
    )


def pairs_inside(
    window: Window,
    embeddings: Tensor,  # (B, D, H, W), contiguous
    labels: Tensor,  # (B, H, W) int32
    options: Options,
    weight: float | None,
    places: float,
    with_gradient: bool,
) -> tuple[float, float, Tensor | None]:
    """Give the sum of the hinges of unordered pairs, the weight of an ordered pair, and the weighted loss's gradient.

    The weight is that given, or else one over the number of ordered pairs counted and of `places` outside.
    """
    gradient = torch.empty_like(embeddings) if with_gradient else None
    total, count, used = ctypes.c_double(0.0), ctypes.c_int64(0), ctypes.c_double(weight or 0.0)
    job = PairLossJob(
        embeddings=native.pointer(embeddings, embeddings.dtype),
        labels=native.pointer(labels, torch.int32),
        gradient=pointer(gradient, embeddings.dtype),
        weight=ctypes.addressof(used),
        loss=ctypes.addressof(total),
        count=ctypes.addressof(count),
        shape=window,
        channels=embeddings.shape[1],
        alpha=options.alpha,
        beta=options.beta,
        places=places,
        distance=DISTANCES.index(options.distance),
        squared=options.squared,
        type=native.number_of(embeddings.dtype),
        n_threads=torch.get_num_threads(),
    )
    try:
        native.run("df_pair_loss", job)
    except ValueError:  # the kernel saw NaN or Inf on its way
        check_finite("embeddings", embeddings)
        raise
    return total.value, used.value, gradient
