"""`build_lattice`: the points of a permutohedral lattice that features touch, and how they hang together."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from densefield.checks import InputError, check, check_tensor, whole_number
from densefield.ops import idle_threads, native
from densefield.ops.operator import operator
from densefield.ops.permutohedral.finite import check_all_finite
from densefield.ops.permutohedral.memory import check_memory
from densefield.ops.permutohedral.torch_path import Parts, build_by_sorting, too_wide

MAX_FEATURES = 16
MANY_POINTS = 1 << 16  # whose lattice is built in milliseconds
MOST_WIDTHS = 2e4  # csrc/lattice/digits.h has it too


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


def build_lattice(
    features: Tensor,  # (B, d, N), divided by the kernel's widths
    fill_rows: int = 0,
) -> Lattice:
    """Find the lattice points around each pixel's feature vector (Adams, Baek, Davis 2010, section 3), 1 <= d <= 16.

    The lattice depends on `features` only: build once, filter any number of channels any number of times. Not
    differentiable; `lattice_filter` is given `features` again for that. Points one step away from those that pixels
    touch are added where an item's lattice then has at most `fill_rows` points: blurring loses less over its edges. An
    item's part is the same whatever else is in the batch. Raises `InputError` for more than 16 dimensions, values that
    are not finite, no pixels, or features so wide that the lattice's coordinates or memory overflow.
    """
    check_tensor("features", features, "a tensor (B, d, N)")
    fill_rows = whole_number("fill_rows", fill_rows, 0, 2**63 - 1)
    _check_shape(features)
    return joined([build_item(item, fill_rows) for item in features.detach().split(1)])


def build_item(
    features: Tensor,  # (1, d, N)
    fill_rows: int = 0,
    *,
    widths: Tensor | None = None,  # (d,)
    stretch: float = 1.0,
    entries: bool = True,
) -> Lattice:
    """Give the lattice of `features / widths * stretch`.

    Without `entries`, a third of its memory and of the time to build it, the lattice serves filters of up to four
    channels and a mean field's forward pass.
    Raises `InputError` as `build_lattice`.
    """
    _check_shape(features)
    wide = features.float() if features.dtype.itemsize < 4 else features
    return Lattice(*_build(wide, widths, stretch, fill_rows, entries))


def _check_shape(features: Tensor) -> None:
    check(
        features.dim() == 3 and features.shape[0] > 0 and features.shape[2] > 0,
        f"features: wanted shape (B, d, N) with at least one pixel, received {tuple(features.shape)}",
    )
    check(features.is_floating_point(), f"features: wanted a floating-point tensor, received {features.dtype}")
    d = features.shape[1]
    check(1 <= d <= MAX_FEATURES, f"features: wanted 1 to {MAX_FEATURES} dimensions, received {d}")
    batch, points = features.shape[0], features.shape[2]
    check(
        batch * points * (d + 1) < 2**31,
        f"features: {batch} x {points} pixels of {d} dimensions need {batch * points * (d + 1)} lattice corners, "
        "wanted fewer than 2^31",
    )


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
        if max(float(most), -float(least)) > MOST_WIDTHS:
            return scaled.double()
    return scaled


@operator("lattice_build")
def _build(
    features: Tensor, widths: Tensor | None, stretch: float, fill_rows: int, entries: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Build on any device."""
    return _by_sorting(features, widths, stretch, fill_rows, entries)


def _by_sorting(features: Tensor, widths: Tensor | None, stretch: float, fill_rows: int, entries: bool) -> Parts:
    check_all_finite("features", features)
    scaled = scaled_features(features, widths, stretch)
    if rescue_precision(scaled) is not scaled:
        scaled = scaled_features(features.double(), widths, stretch)
    vertices, weights, neighbours, starts, places, touched, order = build_by_sorting(scaled, fill_rows)
    if not entries:
        starts, places = starts.new_empty(0), places.new_empty(0)
    return vertices, weights.to(features.dtype), neighbours, starts, places, touched, order


@_build.kernel("cpu")
def _(
    features: Tensor, widths: Tensor | None, stretch: float, fill_rows: int, entries: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    batch, d, points = features.shape
    corners = batch * points * (d + 1)
    check_memory(corners * (8 + 2 * features.element_size()), f"a lattice over {batch} x {points} pixels")
    if not native.available():
        return _by_sorting(features, widths, stretch, fill_rows, entries)
    vertices, weights, rows, handle = _points(features, widths, stretch)
    try:
        touched = torch.tensor([rows.value], dtype=torch.int64, device="cpu")
        _fill(handle, rows, fill_rows)
        count = rows.value
        listed = corners if entries else 0
        check_memory((d + 1) * count * 8 + 4 * listed, f"the {count} lattice points of {batch} x {points} pixels")
        neighbours = features.new_empty((d + 1, count, 2), dtype=torch.int32)
        starts = features.new_empty(count + 1 if entries else 0, dtype=torch.int32)
        order = features.new_empty(count if count > int(touched) else 0, dtype=torch.int32)
        places = native.empty((listed,), torch.int32)
        job = LatticeLinksJob(
            lattice=handle,
            vertices=native.pointer(vertices, torch.int32),
            neighbours=native.pointer(neighbours, torch.int32),
            starts=native.pointer(starts, torch.int32) if entries else None,
            entries=native.pointer(places, torch.int32) if entries else None,
            order=native.pointer(order, torch.int32) if order.numel() else None,
            n_threads=torch.get_num_threads(),
        )
        native.run("df_lattice_links", job)
    finally:
        _free(handle)
    return vertices, weights.to(features.dtype), neighbours, starts, places, touched, order


_EACH, _FEW = 32, 2048  # every so many pixels; fewer are built as quickly as they are asked


def outgrows(
    features: Tensor,  # (B, d, N)
    stretch: float,
    fill_rows: int,
    widths: Tensor | None = None,  # (d,)
) -> bool:
    """Tell quickly, from a few pixels, whether the filled lattice of these features exceeds `fill_rows` for sure.

    What some pixels touch, and what fills it up, is part of what all do: more than `fill_rows` of it are enough.
    """
    if features.shape[2] < _EACH * _FEW or features.device.type != "cpu" or not native.available():
        return False
    # Eight times the pixels seldom touch four times the points, and filled those are 4 to 7 times as many.
    for each, more in ((8 * _EACH, 4), (2 * _EACH, 2), (_EACH, 1)):
        try:
            *_, rows, handle = _points(features.detach()[..., ::each].float(), widths, stretch)
        except InputError:
            return False  # said where the lattice itself is built
        try:
            if more * rows.value < fill_rows // 8:
                return False
            yes = ctypes.c_int32()
            native.kernel("df_lattice_outgrows", _OUTGROWS)(handle, fill_rows, ctypes.addressof(yes))
            if yes.value:
                return True
        finally:
            _free(handle)
    return False


def _points(
    features: Tensor,  # (B, d, N)
    widths: Tensor | None,  # (d,)
    stretch: float,
) -> tuple[Tensor, Tensor, ctypes.c_int64, ctypes.c_void_p]:
    """Give the corners of each pixel's simplex, their weights, the number of lattice points and a handle to them.

    Corners and weights are in float64 where float32 cannot tell a lattice cell from the next.
    """
    features = features.contiguous()
    batch, d, points = features.shape
    vertices = native.empty((batch, points, d + 1), torch.int32)
    weights = native.empty((batch, points, d + 1), features.dtype)
    rows, handle = ctypes.c_int64(), ctypes.c_void_p()
    if batch * points > MANY_POINTS:
        idle_threads.send_away()
    given = None if widths is None else native.double_array(widths.tolist())
    job = LatticeBuildJob(
        features=native.pointer(features, features.dtype),
        widths=None if given is None else ctypes.addressof(given),
        stretch=stretch,
        batch=batch,
        points=points,
        vertices=native.pointer(vertices, torch.int32),
        weights=native.pointer(weights, features.dtype),
        rows=ctypes.addressof(rows),
        lattice=ctypes.addressof(handle),
        d=d,
        type=native.number_of(features.dtype),
        n_threads=torch.get_num_threads(),
    )
    try:
        native.run("df_lattice_build", job)
    except ValueError:
        check_all_finite("features", features)
        raise too_wide(scaled_features(features, widths, stretch)) from None
    if rows.value < 0:
        _free(handle)
        return _points(features.double(), widths, stretch)
    return vertices, weights, rows, handle


def _free(handle: ctypes.c_void_p) -> None:
    native.kernel("df_lattice_free", (native.POINTER,))(handle)


def _fill(handle: ctypes.c_void_p, rows: ctypes.c_int64, fill_rows: int) -> None:
    if fill_rows > rows.value:
        job = LatticeFillJob(
            lattice=handle, most_rows=fill_rows, rows=ctypes.addressof(rows), n_threads=torch.get_num_threads()
        )
        native.run("df_lattice_fill", job)


class LatticeBuildJob(native.Job):
    """Features, and where the corners of each pixel's simplex go."""

    _fields_ = (
        ("features", native.POINTER),
        ("widths", native.POINTER),
        ("stretch", native.DOUBLE),
        ("batch", native.INT64),
        ("points", native.INT64),
        *((name, native.POINTER) for name in ("vertices", "weights", "rows", "lattice")),
        *((name, native.INT32) for name in ("d", "type", "n_threads")),
    )


class LatticeFillJob(native.Job):
    """A lattice, and how many points it may have."""

    _fields_ = (
        ("lattice", native.POINTER),
        ("most_rows", native.INT64),
        ("rows", native.POINTER),
        ("n_threads", native.INT32),
    )


class LatticeLinksJob(native.Job):
    """A lattice, and where that goes by which it hangs together."""

    _fields_ = (
        *((name, native.POINTER) for name in ("lattice", "vertices", "neighbours", "starts", "entries", "order")),
        ("n_threads", native.INT32),
    )


_OUTGROWS = (native.POINTER, native.INT64, native.POINTER)


@_build.fake
def _(
    features: Tensor, widths: Tensor | None, stretch: float, fill_rows: int, entries: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]:
    batch, d, points = features.shape
    rows = torch.library.get_ctx().new_dynamic_size()

    def indices(shape: Sequence[int | torch.SymInt]) -> Tensor:
        return features.new_empty(shape, dtype=torch.int32)

    return (
        indices((batch, points, d + 1)),
        features.new_empty((batch, points, d + 1)),
        indices((d + 1, rows, 2)),
        indices((rows + 1 if entries else 0,)),
        indices((batch * points * (d + 1) if entries else 0,)),
        features.new_empty((batch,), dtype=torch.int64),
        indices((torch.library.get_ctx().new_dynamic_size(),)),
    )
