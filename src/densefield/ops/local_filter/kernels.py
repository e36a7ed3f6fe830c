"""The affinity filter by native kernels: csrc/window/local_filter.cpp, called in turn."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

from densefield.ops import native
from densefield.ops.local_filter.edges import Edges
from densefield.ops.local_filter.window import DISTANCES, Window

_SHAPE = ("shape", native.INT64 * 5)  # of Window.shape()


class PairMasksJob(native.Job):
    """Embeddings to masks."""

    _fields_ = (
        *((name, native.POINTER) for name in ("embeddings", "masks")),
        _SHAPE,
        ("channels", native.INT64),
        ("scale", native.DOUBLE),
        *((name, native.INT32) for name in ("distance", "type", "n_threads")),
    )


class WindowPackJob(native.Job):
    """Values to a map."""

    _fields_ = (
        *((name, native.POINTER) for name in ("values", "factor", "partner", "map", "dot")),
        _SHAPE,
        ("channels", native.INT64),
        *((name, native.INT32) for name in ("finite", "type", "n_threads")),
    )


class WindowFilterJob(native.Job):
    """A map, filtered several times."""

    _fields_ = (
        *((name, native.POINTER) for name in ("masks", "maps", "centre", "floor", "factor", "output")),
        *((name, native.DOUBLE) for name in ("centre_value", "floor_value")),
        _SHAPE,
        *((name, native.INT64) for name in ("channels", "iterations")),
        *((name, native.INT32) for name in ("normalize", "type", "n_threads")),
    )


class WindowFilterGradientJob(native.Job):
    """The way back through that."""

    _fields_ = (
        *((name, native.POINTER) for name in ("masks", "maps", "centre", "factor")),
        *((name, native.POINTER) for name in ("h", "spare", "dot", "sums", "of_centre", "output")),
        ("centre_value", native.DOUBLE),
        _SHAPE,
        *((name, native.INT64) for name in ("channels", "iterations")),
        *((name, native.INT32) for name in ("type", "n_threads")),
    )


class PairGradientJob(native.Job):
    """Weights of pairs to the gradient of embeddings."""

    _fields_ = (
        *((name, native.POINTER) for name in ("embeddings", "weights", "gradient", "scale_gradient")),
        _SHAPE,
        ("channels", native.INT64),
        ("scale", native.DOUBLE),
        *((name, native.INT32) for name in ("distance", "type", "n_threads")),
    )


def pointer(tensor: Tensor | None, dtype: torch.dtype) -> int | None:
    """Give the address of a contiguous tensor, or NULL for None."""
    return None if tensor is None else native.pointer(tensor, dtype)


def _pointers(tensors: list[Tensor], dtype: torch.dtype) -> ctypes.Array[ctypes.c_void_p]:
    return (ctypes.c_void_p * len(tensors))(*(native.pointer(tensor, dtype) for tensor in tensors))


def _pack(
    window: Window,
    values: Tensor,  # (B, C, H, W)
    to: Tensor,  # a native map
    *,
    factor: Tensor | None = None,
    partner: Tensor | None = None,
    dot: Tensor | None = None,
    finite: bool,
) -> None:
    kind = values.dtype
    job = WindowPackJob(
        values=native.pointer(values, kind),
        factor=pointer(factor, kind),
        partner=pointer(partner, kind),
        map=native.pointer(to, kind),
        dot=pointer(dot, kind),
        shape=window.shape(),
        channels=values.shape[1],
        finite=finite,
        type=native.number_of(kind),
        n_threads=torch.get_num_threads(),
    )
    native.run("df_window_pack", job)


def filter_forward(
    window: Window,
    scores: Tensor,  # (B, C, H, W), contiguous
    embeddings: Tensor,  # (B, D, H, W), contiguous
    scale: float,
    edges: Edges,
    *,
    iterations: int,
    distance: str,
    normalize: bool,
    keep: bool,
) -> tuple[Tensor, Tensor, Tensor, list[Tensor]]:
    """Filter; give the result and, for the gradient where `keep`, masks, factors and the maps between iterations."""
    # One block where it can be, so that allocators keep it for the next call.
    size = window.elements(window.pairs)
    work = scores.new_empty(size if keep else size + window.map_elements(scores.shape[1]))
    masks, kind = work[:size], scores.dtype
    job = PairMasksJob(
        embeddings=native.pointer(embeddings, kind),
        masks=native.pointer(masks, kind),
        shape=window.shape(),
        channels=embeddings.shape[1],
        scale=scale,
        distance=DISTANCES.index(distance),
        type=native.number_of(kind),
        n_threads=torch.get_num_threads(),
    )
    native.run("df_pair_masks", job)
    room = None if keep else work[size:]
    result, factor, maps = apply(
        window, scores, masks, edges, iterations=iterations, normalize=normalize, keep=keep, room=room
    )
    return result, masks if keep else scores.new_empty(0), factor, maps


def apply(
    window: Window,
    scores: Tensor,  # (B, C, H, W), contiguous
    masks: Tensor,  # native planes
    edges: Edges,
    *,
    iterations: int,
    normalize: bool,
    keep: bool,
    room: Tensor | None = None,  # a native map
) -> tuple[Tensor, Tensor, list[Tensor]]:
    """Apply masks; give the result and, where `keep`, factors and the maps between iterations."""
    channels, kind = scores.shape[1], scores.dtype
    factor = scores.new_empty((window.batch, window.height, window.width) if normalize else 0)
    packed = scores.new_empty(window.map_elements(channels)) if room is None else room
    # One tensor for each map kept: allocators hand blocks of this size out again, without page faults.
    others = [torch.empty_like(packed) for _ in range(iterations - 1 if keep else min(iterations - 1, 1))]
    _pack(window, scores, packed, finite=True)
    steps = [packed, *others] if keep else [others[0] if step % 2 else packed for step in range(iterations)]
    result = torch.empty_like(scores)
    all_steps = _pointers(steps, kind)
    job = WindowFilterJob(
        masks=native.pointer(masks, kind),
        maps=ctypes.addressof(all_steps),
        centre=pointer(edges.centre, kind),
        floor=pointer(edges.floor, kind),
        factor=pointer(factor if normalize else None, kind),
        output=native.pointer(result, kind),
        centre_value=edges.centre_value,
        floor_value=edges.floor_value,
        shape=window.shape(),
        channels=channels,
        iterations=iterations,
        normalize=normalize,
        type=native.number_of(kind),
        n_threads=torch.get_num_threads(),
    )
    native.run("df_window_filter", job)
    return result, factor if keep else scores.new_empty(0), others if keep else []


def planes_of(
    window: Window,
    values: Tensor,  # (B, pairs, H, W), in the order of `Window.slices`
) -> Tensor:
    """Lay values of pairs out as native planes."""
    planes = values.new_zeros(window.elements(window.pairs))
    view = window.view(planes, window.pairs)  # (B, H, pairs, W)
    for k, ((_, rows, columns), _) in enumerate(window.slices()):
        view[:, rows, k, columns] = values[:, k, rows, columns]
    return planes


def filter_backward(
    window: Window,
    gradient: Tensor,  # (B, C, H, W), contiguous, as all that follow
    scores: Tensor,  # (B, C, H, W)
    embeddings: Tensor,  # (B, D, H, W)
    result: Tensor,  # (B, C, H, W)
    scale: float,
    edges: Edges,
    masks: Tensor,
    factor: Tensor,
    maps: list[Tensor],
    *,
    iterations: int,
    distance: str,
    normalize: bool,
    by_scores: bool,
    by_masks: bool,
    by_scale: bool,
) -> tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None, float]:
    """Give the gradients by scores, embeddings, centre (dot product only) and floor, and by scale without these two."""
    channels, kind = scores.shape[1], scores.dtype
    used = factor if normalize else None
    dots = scores.new_empty(window.elements(1)) if normalize and by_masks else None
    # One block, so that what follows finds room where it was: h, the packed scores, and h's successor.
    work = scores.new_empty((2 + (iterations > 1), window.map_elements(channels)))
    h, packed, spare = work[0], work[1], work[-1]
    partner = None if dots is None else result
    _pack(window, gradient, h, factor=used, partner=partner, dot=dots, finite=False)
    if by_masks:
        _pack(window, scores, packed, finite=False)
    sums = scores.new_empty(window.elements(window.pairs)) if by_masks else None
    pixels = (window.batch, window.height, window.width)
    by_centre = scores.new_zeros(pixels) if by_masks and edges.centre is not None else None
    gradient_scores = torch.empty_like(scores) if by_scores else None
    steps = _pointers([packed, *maps], kind)
    job = WindowFilterGradientJob(
        masks=native.pointer(masks, kind),
        maps=ctypes.addressof(steps),
        centre=pointer(edges.centre, kind),
        factor=pointer(used, kind),
        h=native.pointer(h, kind),
        spare=native.pointer(spare, kind),
        dot=pointer(dots, kind),
        sums=pointer(sums, kind),
        of_centre=pointer(by_centre, kind),
        output=pointer(gradient_scores, kind),
        centre_value=edges.centre_value,
        shape=window.shape(),
        channels=channels,
        iterations=iterations,
        type=native.number_of(kind),
        n_threads=torch.get_num_threads(),
    )
    native.run("df_window_filter_gradient", job)
    if sums is None:
        return gradient_scores, None, None, None, 0.0
    del work, h, packed, spare  # the gradient of the embeddings takes their place
    by_floor = None if dots is None else -window.view(dots, 1)[:, :, 0]
    if by_centre is not None and by_floor is not None:
        by_centre += by_floor
    by_embeddings, scale_gradient = pair_gradient(window, embeddings, sums, scale, distance, by_scale)
    return gradient_scores, by_embeddings, by_centre, by_floor, scale_gradient


def pair_gradient(
    window: Window,
    embeddings: Tensor,  # (B, D, H, W), contiguous
    weights: Tensor,  # native planes
    scale: float,
    distance: str,
    by_scale: bool,
) -> tuple[Tensor, float]:
    """Give scale * (the sum of weights * distance over pairs) by the embeddings, and that sum."""
    result, kind = torch.empty_like(embeddings), embeddings.dtype
    total = ctypes.c_double(0.0)
    job = PairGradientJob(
        embeddings=native.pointer(embeddings, kind),
        weights=native.pointer(weights, kind),
        gradient=native.pointer(result, kind),
        scale_gradient=ctypes.addressof(total) if by_scale else None,
        shape=window.shape(),
        channels=embeddings.shape[1],
        scale=scale,
        distance=DISTANCES.index(distance),
        type=native.number_of(kind),
        n_threads=torch.get_num_threads(),
    )
    native.run("df_pair_gradient", job)
    return result, total.value
