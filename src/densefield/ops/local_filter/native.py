"""The affinity filter by native kernels: csrc/window/local_filter.cpp, called in turn."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import torch
from torch import Tensor

from densefield.ops import native
from densefield.ops.local_filter.filter import Filter
from densefield.ops.local_filter.window import DISTANCES, Window

_SHAPE = ("shape", native.INT64 * 5)  # the fields of Window


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


def forward(
    by: Filter,
    scores: Tensor,  # (B, C, H, W), contiguous
    embeddings: Tensor,  # (B, D, H, W), contiguous
    keep: bool,
) -> tuple[Tensor, list[Tensor]]:
    """Filter; give the result and, for the gradient where `keep`, masks, factors and the maps between iterations."""
    # One block where it can be, so that allocators keep it for the next call.
    window, kind = by.window, scores.dtype
    size = window.elements(window.pairs)
    work = scores.new_empty(size if keep else size + window.map_elements(scores.shape[1]))
    masks = work[:size]
    job = PairMasksJob(
        embeddings=native.pointer(embeddings, kind),
        masks=native.pointer(masks, kind),
        shape=window,
        channels=embeddings.shape[1],
        scale=by.scale,
        distance=DISTANCES.index(by.options.distance),
        type=native.number_of(kind),
        n_threads=torch.get_num_threads(),
    )
    native.run("df_pair_masks", job)
    result, kept = apply(by, scores, masks, keep, None if keep else work[size:])
    return result, [masks, *kept] if keep else []


def apply(
    by: Filter,
    scores: Tensor,  # (B, C, H, W), contiguous
    masks: Tensor,  # native planes
    keep: bool,
    room: Tensor | None = None,  # a native map
) -> tuple[Tensor, list[Tensor]]:
    """Apply masks; give the result and, where `keep`, factors and the maps between iterations."""
    window, options, kind = by.window, by.options, scores.dtype
    factor = scores.new_empty((window.batch, window.height, window.width) if options.normalize else 0)
    packed = scores.new_empty(window.map_elements(scores.shape[1])) if room is None else room
    # One tensor for each map kept: allocators hand blocks of this size out again, without page faults.
    others = [
        torch.empty_like(packed) for _ in range(options.iterations - 1 if keep else min(options.iterations - 1, 1))
    ]
    _pack(window, scores, packed, finite=True)
    steps = [packed, *others] if keep else [others[0] if step % 2 else packed for step in range(options.iterations)]
    result = torch.empty_like(scores)
    all_steps = _pointers(steps, kind)
    centre, centre_value = _varying(by.centre, kind)
    floor, floor_value = _varying(by.floor, kind)
    job = WindowFilterJob(
        masks=native.pointer(masks, kind),
        maps=ctypes.addressof(all_steps),
        centre=centre,
        floor=floor,
        factor=pointer(factor if options.normalize else None, kind),
        output=native.pointer(result, kind),
        centre_value=centre_value,
        floor_value=floor_value,
        shape=window,
        channels=scores.shape[1],
        iterations=options.iterations,
        normalize=options.normalize,
        type=native.number_of(kind),
        n_threads=torch.get_num_threads(),
    )
    native.run("df_window_filter", job)
    return result, [factor, *others] if keep else []


def backward(
    by: Filter,
    gradient: Tensor,  # (B, C, H, W), contiguous, as all that follow
    scores: Tensor,  # (B, C, H, W)
    embeddings: Tensor,  # (B, D, H, W)
    kept: Sequence[Tensor],  # the result, masks, factors and maps
    wanted: Sequence[bool],  # by scores, by embeddings, by scale
) -> tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None, float]:
    """Give the gradients by scores, embeddings, centre (dot product only) and floor, and by scale without these two."""
    window, kind = by.window, scores.dtype
    result, masks, factor, *maps = kept
    by_scores, by_masks = wanted[0], wanted[1] or wanted[2]
    used = factor if by.options.normalize else None
    dots = scores.new_empty(window.elements(1)) if used is not None and by_masks else None
    # One block, so that what follows finds room where it was: h, the packed scores, and h's successor.
    work = scores.new_empty((2 + (by.options.iterations > 1), window.map_elements(scores.shape[1])))
    h, packed, spare = work[0], work[1], work[-1]
    _pack(window, gradient, h, factor=used, products=None if dots is None else (result, dots))
    if by_masks:
        _pack(window, scores, packed)
    sums = scores.new_empty(window.elements(window.pairs)) if by_masks else None
    centre, centre_value = _varying(by.centre, kind)
    pixels = (window.batch, window.height, window.width)
    by_centre = scores.new_zeros(pixels) if by_masks and centre is not None else None
    gradient_scores = torch.empty_like(scores) if by_scores else None
    steps = _pointers([packed, *maps], kind)
    job = WindowFilterGradientJob(
        masks=native.pointer(masks, kind),
        maps=ctypes.addressof(steps),
        centre=centre,
        factor=pointer(used, kind),
        h=native.pointer(h, kind),
        spare=native.pointer(spare, kind),
        dot=pointer(dots, kind),
        sums=pointer(sums, kind),
        of_centre=pointer(by_centre, kind),
        output=pointer(gradient_scores, kind),
        centre_value=centre_value,
        shape=window,
        channels=scores.shape[1],
        iterations=by.options.iterations,
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
    by_embeddings, scale_gradient = pair_gradient(by, embeddings, sums, wanted[2])
    return gradient_scores, by_embeddings, by_centre, by_floor, scale_gradient


def pair_gradient(
    by: Filter,
    embeddings: Tensor,  # (B, D, H, W), contiguous
    weights: Tensor,  # native planes
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
        shape=by.window,
        channels=embeddings.shape[1],
        scale=by.scale,
        distance=DISTANCES.index(by.options.distance),
        type=native.number_of(kind),
        n_threads=torch.get_num_threads(),
    )
    native.run("df_pair_gradient", job)
    return result, total.value


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


def pointer(tensor: Tensor | None, dtype: torch.dtype) -> int | None:
    """Give the address of a contiguous tensor, or NULL for None."""
    return None if tensor is None else native.pointer(tensor, dtype)


def _varying(value: Tensor | float, dtype: torch.dtype) -> tuple[int | None, float]:
    return (native.pointer(value, dtype), 0.0) if isinstance(value, Tensor) else (None, value)


def _pointers(tensors: list[Tensor], dtype: torch.dtype) -> ctypes.Array[ctypes.c_void_p]:
    return (ctypes.c_void_p * len(tensors))(*(native.pointer(tensor, dtype) for tensor in tensors))


def _pack(
    window: Window,
    values: Tensor,  # (B, C, H, W)
    to: Tensor,  # a native map
    *,
    factor: Tensor | None = None,
    products: tuple[Tensor, Tensor] | None = None,  # the values' partner, and where their products' sums go
    finite: bool = False,
) -> None:
    kind = values.dtype
    partner, dot = products or (None, None)
    job = WindowPackJob(
        values=native.pointer(values, kind),
        factor=pointer(factor, kind),
        partner=pointer(partner, kind),
        map=native.pointer(to, kind),
        dot=pointer(dot, kind),
        shape=window,
        channels=values.shape[1],
        finite=finite,
        type=native.number_of(kind),
        n_threads=torch.get_num_threads(),
    )
    native.run("df_window_pack", job)
