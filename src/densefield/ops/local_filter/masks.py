"""`filter_by_masks`: the window filter with masks from anywhere, for inference."""

from __future__ import annotations

import torch
from torch import Tensor

from densefield.checks import check, check_finite, check_map
from densefield.derivatives import refuse_tangents
from densefield.ops import native
from densefield.ops.local_filter import kernels, shifts
from densefield.ops.local_filter.edges import Edges
from densefield.ops.local_filter.window import Window, check_window


@torch.no_grad()
def filter_by_masks(
    scores: Tensor,  # (B, C, H, W)
    masks: Tensor,  # (B, pairs, H, W), in the order of `Window.slices`
    *,
    window: int,
    rate: int = 1,
    iterations: int = 1,
    normalize: bool = True,
    eps: float = 0.0,
    center: float = 1.0,
) -> Tensor:  # (B, C, H, W)
    """Apply out_i = sum_j m_ij s_j / (sum_j m_ij + eps) `iterations` times, with m_ii = `center`; no gradient.

    A mask stands at the pair's first pixel, and serves both directions. Raises `InputError` for shapes that do not fit.
    """
    check_window(window, rate, "l1", "valid")
    check_map("scores", scores)
    geometry = Window.over(scores, window, rate)
    check_map("masks", masks, geometry.pairs)
    check(
        masks.shape[0] == scores.shape[0] and masks.shape[2:] == scores.shape[2:] and scores.numel() > 0,
        f"masks: wanted batch and size of scores {tuple(scores.shape)}, not empty, received {tuple(masks.shape)}",
    )
    check(iterations >= 1, f"iterations: wanted 1 or more, received {iterations}")
    refuse_tangents("filter_by_masks", (scores, masks))
    check_finite("scores", scores)
    check_finite("masks", masks)
    kind = torch.promote_types(torch.promote_types(scores.dtype, masks.dtype), torch.float32)
    wide, edges = scores.to(kind).contiguous(), Edges(None, center, None, eps)
    if scores.device.type == "cpu" and native.available():
        planes = kernels.planes_of(geometry, masks.to(kind))
        result = kernels.apply(geometry, wide, planes, edges, iterations=iterations, normalize=normalize, keep=False)[0]
    else:
        inside = masks.to(kind, copy=True)
        shifts.clear_outside(geometry, inside)
        result = shifts.apply(geometry, wide, inside, edges, iterations=iterations, normalize=normalize, keep=False)[0]
    return result.to(scores.dtype)
