"""`Lattice`: the points of a permutohedral lattice that features touch, and how they hang together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from densefield.checks import check


class Lattice(NamedTuple):
    """A built lattice of M points over a batch of B sets of N pixels: indices into a table of M rows of values."""

    vertices: Tensor  # (B, N, d+1) int32: the rows at the corners of each pixel's simplex
    weights: Tensor  # (B, N, d+1): barycentric, they sum to 1
    neighbours: Tensor  # (d+1, M, 2) int32: the rows one step back and on along each blur axis; M where there is none
    starts: Tensor  # (M+1,) int32: row r is touched by entries[starts[r]:starts[r+1]]
    entries: Tensor  # (B*N*(d+1),) int32: places in the flattened `vertices`, sorted by row
    # (0,) both in a lattice for up to four channels, `build_item(entries=False)`: those are splatted without.
    touched: Tensor  # (B,) int64: how many of an item's rows its pixels touch; they come before those that fill it up
    order: Tensor  # (M,) int32: rows in the order of their coordinates; (0,) where they stand in it

    @property
    def rows(self) -> int:
        """The number of lattice points, M."""
        return self.neighbours.shape[1]

    @property
    def parts(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """What filters read: vertices, weights, neighbours, starts and entries."""
        return self[:5]

    def item(self, index: int) -> Lattice:
        """Give the lattice of one item of the batch alone; its rows lie together."""
        batch, points, corners = self.vertices.shape
        if batch == 1:
            return self
        vertices = self.vertices[index : index + 1]
        first, last = int(vertices.min()), int(vertices.max()) + 1
        links = self.neighbours[:, first:last]
        linked = links[links < self.rows]  # rows that fill a lattice up lie one step beyond those that are touched
        if linked.numel():
            first, last = min(first, int(linked.min())), max(last, int(linked.max()) + 1)
            links = self.neighbours[:, first:last]
        begin = index * points * corners
        return Lattice(
            vertices - first,
            self.weights[index : index + 1].contiguous(),
            torch.where(links == self.rows, last - first, links - first).int(),
            self.starts[first : last + 1] - begin,
            self.entries[begin : begin + points * corners] - begin,
            self.touched[index : index + 1],
            self.order[first:last] - first,
        )


def joined(lattices: Sequence[Lattice]) -> Lattice:
    """Give the lattice of a batch from those of its items: the way back from `Lattice.item`."""
    if len(lattices) == 1:
        return lattices[0]
    assert all(len(one.starts) for one in lattices)
    entries, total = sum(one.entries.numel() for one in lattices), sum(one.rows for one in lattices)
    check(
        max(entries, total) < 2**31,
        f"features: a batch of {len(lattices)} needs {entries} lattice corners, wanted fewer than 2^31",
    )
    vertices, neighbours, starts, places, orders = [], [], [], [], []
    filled = any(one.order.numel() for one in lattices)
    row, entry = 0, 0
    for one in lattices:
        vertices.append(one.vertices + row)
        neighbours.append(torch.where(one.neighbours == one.rows, total, one.neighbours + row))
        starts.append(one.starts[:-1] + entry)
        places.append(one.entries + entry)
        order = one.order
        if not order.numel():
            order = torch.arange(one.rows, dtype=order.dtype, device=order.device)
        orders.append(order + row)
        row, entry = row + one.rows, entry + one.entries.numel()
    end = lattices[0].starts.new_tensor([entries])
    return Lattice(
        torch.cat(vertices),
        torch.cat([one.weights for one in lattices]),
        torch.cat(neighbours, 1).int(),
        torch.cat([*starts, end]),
        torch.cat(places),
        torch.cat([one.touched for one in lattices]),
        torch.cat(orders) if filled else lattices[0].order,
    )
