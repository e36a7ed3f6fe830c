"""Lattices shifted against each other: their errors differ, so that their average is more accurate."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from densefield.ops.permutohedral.lattice import Lattice
from densefield.ops.permutohedral.op import build_item, build_lattice
from densefield.ops.permutohedral.plain import scaled_features


def shifted_lattices(
    features: Tensor,  # (B, d, N)
    shifts: int,
    fill_rows: int = 0,
) -> tuple[Lattice, ...]:
    """Build `shifts` lattices whose origins lie evenly in a lattice cell; the first is not shifted.

    `fill_rows` as in `build_lattice`.
    """
    return tuple(build_lattice(each, fill_rows) for each in _moved(features, shifts))


def shifted_items(
    features: Tensor,  # (1, d, N)
    shifts: int,
    fill_rows: int = 0,
    *,
    widths: Tensor,  # (d,)
    stretch: float = 1.0,
    entries: bool = True,
) -> tuple[tuple[Lattice, ...], bool]:
    """Give the shifted lattices of `features / widths * stretch`, and whether all were filled; as `build_item`."""
    if shifts == 1:
        built = [build_item(features, fill_rows, widths=widths, stretch=stretch, entries=entries)]
    else:
        moved = _moved(scaled_features(features, widths, stretch), shifts)
        built = [build_item(each, fill_rows, entries=entries) for each in moved]
    filled = fill_rows > 0 and all(int(lattice.touched) < lattice.rows for lattice in built)
    return tuple(built), filled


def _moved(features: Tensor, shifts: int) -> list[Tensor]:
    offsets = shift_offsets(features.shape[1], shifts).to(features)
    return [features + offset[:, None] if i else features for i, offset in enumerate(offsets)]


def shift_offsets(d: int, shifts: int) -> Tensor:  # (shifts, d) float64
    """Give offsets of features that move lattice coordinates m by the additive recurrence of Roberts in [0, 1)^d."""
    root = 2.0  # of x^(d+1) = x + 1
    for _ in range(64):
        root = (1 + root) ** (1 / (d + 1))
    places = torch.arange(1, d + 1, dtype=torch.float64, device="cpu")
    wanted = (torch.arange(shifts, dtype=torch.float64, device="cpu")[:, None] * root**-places) % 1
    scale = (d + 1) * math.sqrt(2 / 3) / (places * (places + 1)).sqrt()
    # m_k (d + 1) = sum_(i < k) s_i f_i + k s_(k-1) f_(k-1), k = 1 ... d
    matrix = (torch.ones_like(places).expand(d, d).tril() + torch.diag(places)) * scale / (d + 1)
    return torch.linalg.solve_triangular(matrix, wanted.T, upper=False).T
