"""Random-walk propagation of class activation maps up to boundaries, as sparse applications of one window."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from densefield.checks import check, check_map, finite_number, whole_number
from densefield.ops.local_filter import Window, filter_by_masks

MOST_PIXELS = 1 << 10  # of a radius: its window has four million places


def random_walk(
    scores: Tensor,  # (B, K, H, W): activations, at least 0
    boundaries: Tensor,  # (B, 1, H, W): probabilities of a class boundary
    *,
    radius: int = 5,
    beta: float = 10.0,
    steps: int = 2**8,
) -> Tensor:  # (B, K, H, W)
    """Walk `steps` steps from the scores off the boundaries: T^steps vec(scores * (1 - B)), T = A^beta, normalised.

    a_ij = 1 - max of B on the path from i to j, for |i - j| < radius; a_ii = 1: Ahn, Cho, Kwak, "Weakly Supervised
    Learning of Instance Segmentation with Inter-pixel Relations", CVPR 2019. The published code squares a matrix 8
    times; here the window is applied 2^8 times, which needs no matrix. No gradient.
    Raises `InputError` for shapes that do not fit and boundaries outside [0, 1].
    """
    check_map("scores", scores)
    check_map("boundaries", boundaries, 1)
    check(
        boundaries.shape[0] == scores.shape[0] and boundaries.shape[2:] == scores.shape[2:],
        f"boundaries: wanted batch and size of scores {tuple(scores.shape)}, received {tuple(boundaries.shape)}",
    )
    inside = bool(((boundaries >= 0) & (boundaries <= 1)).all())
    check(inside, "boundaries: wanted probabilities from 0 to 1, received others")
    radius, steps = whole_number("radius", radius, 1, MOST_PIXELS), whole_number("steps", steps, 1)
    beta = finite_number("beta", beta)
    kind = torch.promote_types(torch.promote_types(scores.dtype, boundaries.dtype), torch.float32)
    wide = boundaries.to(kind)
    masks = path_affinities(wide, radius).pow(beta)
    walked = filter_by_masks(scores.to(kind) * (1 - wide), masks, window=2 * radius - 1, iterations=steps)
    return walked.to(scores.dtype)


def path_affinities(
    boundaries: Tensor,  # (B, 1, H, W)
    radius: int,
) -> Tensor:  # (B, pairs, H, W)
    """Give 1 - max of the boundaries between the pixels of each pair, 0 for pairs further apart than the radius."""
    window = Window.over(boundaries, 2 * radius - 1, 1)
    batch, _, height, width = boundaries.shape
    result = boundaries.new_zeros((batch, window.pairs, height, width))
    padded = torch.nn.functional.pad(boundaries[:, 0], (radius,) * 4, value=1.0)
    for k, ((_, rows, columns), _) in enumerate(window.slices()):
        dy, dx = window.half_offset(k)
        if dy**2 + dx**2 >= radius**2:
            continue
        highest = torch.zeros_like(boundaries[:, 0])
        for y, x in _path(dy, dx):
            shifted = padded[:, radius + y : radius + y + height, radius + x : radius + x + width]
            highest = torch.maximum(highest, shifted)
        result[:, k, rows, columns] = 1 - highest[:, rows, columns]
    return result


def _path(dy: int, dx: int) -> list[tuple[int, int]]:
    """The pixels within one pixel of the line from (0, 0) to (dy, dx), both ends included."""
    length = math.hypot(dy, dx)
    ys, xs = range(min(dy, 0), max(dy, 0) + 1), range(min(dx, 0), max(dx, 0) + 1)
    return [(y, x) for y in ys for x in xs if abs(x * dy - y * dx) / length < 1]
