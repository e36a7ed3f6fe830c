"""The lattice in plain torch: serves every device, and the CPU where the native library is missing."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from densefield.checks import InputError, check_finite
from densefield.ops.permutohedral.lattice import Lattice

_MOST_WIDTHS = 2e4  # csrc/lattice/digits.h has it too


def build(
    features: Tensor,  # (B, d, N)
    widths: Tensor | None,  # (d,)
    stretch: float,
    fill_rows: int,
    entries: bool,
) -> Lattice:
    """Build the lattice of `features / widths * stretch`, as `op.build_item`."""
    check_finite("features", features)
    scaled = scaled_features(features, widths, stretch)
    if rescue_precision(scaled) is not scaled:
        scaled = scaled_features(features.double(), widths, stretch)
    lattice = build_by_sorting(scaled, fill_rows)
    if not entries:
        lattice = lattice._replace(starts=lattice.starts.new_empty(0), entries=lattice.entries.new_empty(0))
    return lattice._replace(weights=lattice.weights.to(features.dtype))


def scaled_features(
    features: Tensor,  # (B, d, N)
    widths: Tensor | None,  # (d,)
    stretch: float,
) -> Tensor:  # (B, d, N)
    """Give the features in kernel widths."""
    return features if widths is None else features / widths.to(features)[:, None] * stretch


def rescue_precision(scaled: Tensor) -> Tensor:  # (B, d, N)
    """Give float64 features where float32 cannot tell a lattice cell from the next (tiny widths), else the same."""
    if scaled.dtype == torch.float32:
        least, most = scaled.aminmax()
        if max(float(most), -float(least)) > _MOST_WIDTHS:
            return scaled.double()
    return scaled


def build_by_sorting(features: Tensor, fill_rows: int = 0) -> Lattice:
    """Build a `Lattice` from features (B, d, N); an item's rows are in the order of their coordinates.

    Points one step away are added, after its others, where there are then at most `fill_rows`.
    """
    batch, d, points = features.shape
    _check_range(features)
    digits, weights, axes = simplex(features)
    shape = (batch, points, d + 1, d + 1)
    steps = axis_steps(d, features.device)  # (d+1, d)
    moves = steps[axes]  # (B, N, d+1, d): what leads from vertex r-1 to vertex r, nothing for r = 0
    moves[..., 0, :] = 0
    corners = digits[..., None, :] + moves.cumsum(-2)  # (B, N, d+1, d)
    item = torch.arange(batch, device=features.device).view(batch, 1, 1, 1).expand(*shape[:3], 1)
    corners = torch.cat([item, corners], -1).reshape(-1, d + 1)
    found, vertices = torch.unique(corners, dim=0, return_inverse=True)
    touched = torch.bincount(found[:, 0], minlength=batch)
    rows_of = touched.new_empty(0)
    if fill_rows > found.shape[0]:
        around = torch.nn.functional.pad(torch.cat([steps, -steps, torch.zeros_like(steps[:1])]), (1, 0))
        filled, places = torch.unique((found + around[:, None]).flatten(0, 1), dim=0, return_inverse=True)
        if filled.shape[0] <= fill_rows:
            own = places[-found.shape[0] :]
            added = torch.ones_like(filled[:, 0]).index_fill(0, own, 0)
            order = torch.argsort(2 * filled[:, 0] + added, stable=True)
            rows_of = torch.empty_like(order).index_put((order,), torch.arange(len(order), device=order.device))
            found, vertices = filled, rows_of[own][vertices]
    neighbours = _neighbours(found, steps)
    if rows_of.numel():
        moved = torch.cat([rows_of, rows_of.new_tensor([found.shape[0]])])  # none stays none
        neighbours = torch.empty_like(neighbours).index_copy(1, rows_of, moved[neighbours])
    entries = torch.argsort(vertices, stable=True)
    counts = torch.bincount(vertices, minlength=found.shape[0])
    starts = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    return Lattice(
        vertices.view(shape[:3]).int(),
        weights,
        neighbours.int(),
        starts.int(),
        entries.int(),
        touched,
        rows_of.int(),
    )


def axis_steps(d: int, device: torch.device) -> Tensor:  # (d+1, d) int64
    """Give the step along each blur axis in the coordinates m_k = (c_0 - c_k) / (d + 1), k = 1 … d."""
    whole = torch.eye(d, dtype=torch.int64, device=device)
    return torch.cat([-torch.ones_like(whole[:1]), whole])


def simplex(features: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Find the simplex around each feature vector (B, d, N).

    Gives the coordinates m (B, N, d) of its first vertex, barycentric weights (B, N, d+1), and for each vertex r >= 1
    the axis (B, N, d+1) of the step that leads to it from vertex r - 1.
    """
    d = features.shape[1]
    scaled, places = _scaled(features)
    after = scaled.flip(-1).cumsum(-1).flip(-1)  # sums over features k …
    zeros = torch.zeros_like(scaled[..., :1])
    elevated = torch.cat([after, zeros], -1) - torch.cat([zeros, scaled * places], -1)  # (B, N, d+1), sums to 0
    near = elevated / (d + 1)
    whole = near.round()
    gap = near - whole
    over = whole.sum(-1, keepdim=True).long()
    order = torch.argsort(gap, dim=-1, descending=True, stable=True)
    rank = torch.empty_like(order).scatter_(-1, order, torch.arange(d + 1, device=order.device).expand_as(order)) + over
    shift = (rank < 0).long() - (rank > d).long()
    rank = rank + shift * (d + 1)
    whole, gap = whole + shift, gap - shift
    order = torch.empty_like(rank).scatter_(-1, rank, torch.arange(d + 1, device=rank.device).expand_as(rank))
    descending = gap.gather(-1, order).flip(-1)  # entry r: the gap of rank d - r
    weights = descending - torch.cat([descending[..., -1:] - 1, descending[..., :-1]], -1)
    digits = (whole[..., :1] - whole[..., 1:]).long()
    axes = order.flip(-1).roll(1, -1)  # entry r: the axis of rank d + 1 - r
    return digits, weights, axes


def _scaled(features: Tensor) -> tuple[Tensor, Tensor]:  # (B, N, d), and 1 … d
    d = features.shape[1]
    places = torch.arange(1, d + 1, device=features.device, dtype=features.dtype)
    return features.transpose(1, 2) * ((d + 1) * math.sqrt(2 / 3) / (places * (places + 1)).sqrt()), places


def _check_range(features: Tensor) -> None:
    """Raise where coordinates outgrow what the native kernel's codes hold, or the type's digits behind the point."""
    scaled, places = _scaled(features)
    coordinates = (scaled.cumsum(-1) + places * scaled) / (features.shape[1] + 1)
    if not bool((coordinates.abs() < (2**20 if features.dtype == torch.float32 else 2**40)).all()):
        raise too_wide(features)


def too_wide(features: Tensor) -> InputError:
    """The error of features that span more than lattice coordinates can hold."""
    return InputError(
        f"features: span up to {float(features.abs().max()):.3g} kernel widths in {features.shape[1]} dimensions, more "
        "than lattice coordinates can hold; use larger kernel widths"
    )


def _neighbours(found: Tensor, steps: Tensor) -> Tensor:  # (M, 1+d), (d+1, d) -> (d+1, M, 2)
    rows = found.shape[0]
    lower = found.amin(0) - 1
    radix = found.amax(0) + 2 - lower
    links = []
    if math.prod(int(r) for r in radix) < 2**62:
        place = torch.cat([radix.flip(0)[:-1].cumprod(0).flip(0), radix.new_ones(1)])
        codes = ((found - lower) * place).sum(-1)
        for step in (steps * place[1:]).sum(-1):
            sides = []
            for wanted in (codes - step, codes + step):
                at = torch.searchsorted(codes, wanted).clamp(max=rows - 1)
                sides.append(torch.where(codes[at] == wanted, at, rows))
            links.append(torch.stack(sides, -1))
        return torch.stack(links)
    for step in steps:  # coordinates too wide for one number: compare whole rows
        step = torch.cat([step.new_zeros(1), step])
        sides = []
        for wanted in (found - step, found + step):
            inverse = torch.unique(torch.cat([found, wanted]), dim=0, return_inverse=True)[1]
            owner = found.new_full((2 * rows,), rows)
            owner[inverse[:rows]] = torch.arange(rows, device=found.device)
            sides.append(owner[inverse[rows:]])
        links.append(torch.stack(sides, -1))
    return torch.stack(links)


def filtered(
    values: Tensor,  # (B, C, N)
    parts: Sequence[Tensor],  # `Lattice.parts`
    reverse: bool,
) -> Tensor:  # (B, C, N)
    """Splat, blur and slice with index operations."""
    vertices, weights, neighbours = parts[:3]
    batch, channels, points = values.shape
    corners, rows = vertices.shape[2], neighbours.shape[1]
    flat = vertices.reshape(-1).long()
    shares = (values.transpose(1, 2)[:, :, None, :] * weights[..., None]).reshape(-1, channels)
    table = values.new_zeros((rows + 1, channels)).index_add(0, flat, shares)
    for axis in range(corners - 1, -1, -1) if reverse else range(corners):
        links = neighbours[axis].long()
        blurred = table[:rows] + 0.5 * (table[links[:, 0]] + table[links[:, 1]])
        table = torch.cat([blurred, table[rows:]])
    sliced = (table[flat].view(batch, points, corners, channels) * weights[..., None]).sum(2)
    return (sliced / (1 + 2.0 ** (1 - corners))).transpose(1, 2).contiguous()
