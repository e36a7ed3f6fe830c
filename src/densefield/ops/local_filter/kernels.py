"""The affinity filter by native kernels: csrc/window/local_filter.cpp, called in turn."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import torch
from torch import Tensor

from densefield.ops import native
from densefield.ops.local_filter.edges import Edges
from densefield.ops.local_filter.window import DISTANCES, Window

_P, _I32, _I64, _D = native.POINTER, native.INT32, native.INT64, native.DOUBLE
_SIGNATURES: dict[str, tuple[type, ...]] = {
    "pair_masks": (_P, _P, _P, _I64, _I32, _D, _I32),
    "window_pack": (_P, _P, _P, _P, _P, _P, _I64, _I32, _I32),
    "window_filter": (_P, _P, _P, _D, _P, _D, _I32, _P, _P, _P, _I64, _I64, _I32),
    "window_filter_gradient": (_P, _P, _P, _D, _P, _P, _P, _P, _P, _P, _P, _P, _I64, _I64, _I32),
    "pair_gradient": (_P, _P, _P, _P, _I64, _I32, _D, _P, _I32),
}


def pointer(tensor: Tensor | None, dtype: torch.dtype) -> int | None:
    """Give the address of a contiguous tensor, or NULL for None."""
    return None if tensor is None else native.pointer(tensor, dtype)


def _pointers(tensors: list[Tensor], dtype: torch.dtype) -> ctypes.Array[ctypes.c_void_p]:
    return (ctypes.c_void_p * len(tensors))(*(native.pointer(tensor, dtype) for tensor in tensors))


def _kernel(name: str, like: Tensor) -> Callable[..., None]:
    return native.kernel(f"df_{name}_{native.suffix(like.dtype)}", _SIGNATURES[name])


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
    _kernel("pair_masks", scores)(
        native.pointer(embeddings, kind),
        native.pointer(masks, kind),
        native.int64_array(window.shape()),
        embeddings.shape[1],
        DISTANCES.index(distance),
        scale,
        torch.get_num_threads(),
    )
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
    shape, threads = native.int64_array(window.shape()), torch.get_num_threads()
    channels, kind = scores.shape[1], scores.dtype
    factor = scores.new_empty((window.batch, window.height, window.width) if normalize else 0)
    packed = scores.new_empty(window.map_elements(channels)) if room is None else room
    # One tensor for each map kept: allocators hand blocks of this size out again, without page faults.
    others = [torch.empty_like(packed) for _ in range(iterations - 1 if keep else min(iterations - 1, 1))]
    _kernel("window_pack", scores)(
        native.pointer(scores, kind), None, None, native.pointer(packed, kind), None, shape, channels, 1, threads
    )
    steps = [packed, *others] if keep else [others[0] if step % 2 else packed for step in range(iterations)]
    result = torch.empty_like(scores)
    _kernel("window_filter", scores)(
        native.pointer(masks, kind),
        _pointers(steps, kind),
        pointer(edges.centre, kind),
        edges.centre_value,
        pointer(edges.floor, kind),
        edges.floor_value,
        int(normalize),
        pointer(factor if normalize else None, kind),
        native.pointer(result, kind),
        shape,
        channels,
        iterations,
        threads,
    )
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
    shape, threads = native.int64_array(window.shape()), torch.get_num_threads()
    channels, kind = scores.shape[1], scores.dtype
    factors = pointer(factor if normalize else None, kind)
    dots = scores.new_empty(window.elements(1)) if normalize and by_masks else None
    # One block, so that what follows finds room where it was: h, the packed scores, and h's successor.
    work = scores.new_empty((2 + (iterations > 1), window.map_elements(channels)))
    h, packed, spare = work[0], work[1], work[-1]
    _kernel("window_pack", scores)(
        native.pointer(gradient, kind),
        factors,
        native.pointer(result, kind) if dots is not None else None,
        native.pointer(h, kind),
        pointer(dots, kind),
        shape,
        channels,
        0,
        threads,
    )
    if by_masks:
        _kernel("window_pack", scores)(
            native.pointer(scores, kind), None, None, native.pointer(packed, kind), None, shape, channels, 0, threads
        )
    sums = scores.new_empty(window.elements(window.pairs)) if by_masks else None
    pixels = (window.batch, window.height, window.width)
    by_centre = scores.new_zeros(pixels) if by_masks and edges.centre is not None else None
    gradient_scores = torch.empty_like(scores) if by_scores else None
    _kernel("window_filter_gradient", scores)(
        native.pointer(masks, kind),
        _pointers([packed, *maps], kind),
        pointer(edges.centre, kind),
        edges.centre_value,
        factors,
        native.pointer(h, kind),
        native.pointer(spare, kind),
        pointer(dots, kind),
        pointer(sums, kind),
        pointer(by_centre, kind),
        pointer(gradient_scores, kind),
        shape,
        channels,
        iterations,
        threads,
    )
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
    _kernel("pair_gradient", embeddings)(
        native.pointer(embeddings, kind),
        native.pointer(weights, kind),
        native.pointer(result, kind),
        native.int64_array(window.shape()),
        embeddings.shape[1],
        DISTANCES.index(distance),
        scale,
        ctypes.byref(total) if by_scale else None,
        torch.get_num_threads(),
    )
    return result, total.value
