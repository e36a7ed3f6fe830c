"""The lattice's kernels of csrc/lattice: their jobs filled in and run."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from densefield.checks import InputError, check_finite
from densefield.ops import idle_threads, native
from densefield.ops.memory import check_memory
from densefield.ops.permutohedral.lattice import Lattice
from densefield.ops.permutohedral.plain import scaled_features, too_wide

_MANY_POINTS = 1 << 16  # whose lattice is built in milliseconds
_EACH, _FEW = 32, 2048  # every so many pixels; fewer are built as quickly as they are asked


class LatticeBuildJob(native.Job):
    """Features, and where the corners of each pixel's simplex go."""

    _fields_ = (
        *((name, native.POINTER) for name in ("features", "widths")),
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


class LatticeFilterJob(native.Job):
    """Values, and the lattice that filters them."""

    _fields_ = (
        *((name, native.POINTER) for name in ("values", "output")),
        *((name, native.INT64) for name in ("batch", "channels", "points", "rows")),
        *((name, native.POINTER) for name in ("vertices", "weights", "neighbours", "starts", "entries")),
        ("scale", native.DOUBLE),
        *((name, native.INT32) for name in ("d", "reverse", "type", "n_threads")),
    )


class _Points(NamedTuple):
    """The lattice points of some features, which the library holds until this context ends."""

    vertices: Tensor  # (B, N, d+1) int32: the corners of each pixel's simplex
    weights: Tensor  # (B, N, d+1), in float64 where float32 cannot tell a lattice cell from the next
    rows: ctypes.c_int64  # how many points there are
    handle: ctypes.c_void_p

    def __enter__(self) -> _Points:
        return self

    def __exit__(self, *_: object) -> None:
        native.kernel("df_lattice_free", (native.POINTER,))(self.handle)


def _find_points(
    features: Tensor,  # (B, d, N)
    widths: Tensor | None,  # (d,)
    stretch: float,
) -> _Points:
    features = features.contiguous()
    batch, d, points = features.shape
    vertices = native.empty((batch, points, d + 1), torch.int32)
    weights = native.empty((batch, points, d + 1), features.dtype)
    found = _Points(vertices, weights, ctypes.c_int64(), ctypes.c_void_p())
    if batch * points > _MANY_POINTS:
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
        rows=ctypes.addressof(found.rows),
        lattice=ctypes.addressof(found.handle),
        d=d,
        type=native.number_of(features.dtype),
        n_threads=torch.get_num_threads(),
    )
    try:
        native.run("df_lattice_build", job)
    except ValueError:
        check_finite("features", features)
        raise too_wide(scaled_features(features, widths, stretch)) from None
    if found.rows.value < 0:
        with found:
            return _find_points(features.double(), widths, stretch)
    return found


def build(
    features: Tensor,  # (B, d, N)
    widths: Tensor | None,  # (d,)
    stretch: float,
    fill_rows: int,
    entries: bool,
) -> Lattice:
    """Build the lattice of `features / widths * stretch`, as `op.build_item`."""
    batch, d, points = features.shape
    corners = batch * points * (d + 1)
    with _find_points(features, widths, stretch) as found:
        touched = torch.tensor([found.rows.value], dtype=torch.int64, device="cpu")
        if fill_rows > found.rows.value:
            filling = LatticeFillJob(
                lattice=found.handle,
                most_rows=fill_rows,
                rows=ctypes.addressof(found.rows),
                n_threads=torch.get_num_threads(),
            )
            native.run("df_lattice_fill", filling)
        count = found.rows.value
        listed = corners if entries else 0
        check_memory((d + 1) * count * 8 + 4 * listed, f"the {count} lattice points of {batch} x {points} pixels")
        neighbours = features.new_empty((d + 1, count, 2), dtype=torch.int32)
        starts = features.new_empty(count + 1 if entries else 0, dtype=torch.int32)
        order = features.new_empty(count if count > int(touched) else 0, dtype=torch.int32)
        places = native.empty((listed,), torch.int32)
        job = LatticeLinksJob(
            lattice=found.handle,
            vertices=native.pointer(found.vertices, torch.int32),
            neighbours=native.pointer(neighbours, torch.int32),
            starts=native.pointer(starts, torch.int32) if entries else None,
            entries=native.pointer(places, torch.int32) if entries else None,
            order=native.pointer(order, torch.int32) if order.numel() else None,
            n_threads=torch.get_num_threads(),
        )
        native.run("df_lattice_links", job)
    return Lattice(found.vertices, found.weights.to(features.dtype), neighbours, starts, places, touched, order)


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
            found = _find_points(features.detach()[..., ::each].float(), widths, stretch)
        except InputError:
            return False  # said where the lattice itself is built
        with found:
            if more * found.rows.value < fill_rows // 8:
                return False
            least = ctypes.c_int64()
            job = LatticeFillJob(lattice=found.handle, most_rows=fill_rows, rows=ctypes.addressof(least))
            native.run("df_lattice_outgrows", job)
            if least.value > fill_rows:
                return True
    return False


def filtered(
    values: Tensor,  # (B, C, N)
    parts: Sequence[Tensor],  # `Lattice.parts`
    reverse: bool,
) -> Tensor:  # (B, C, N)
    """Filter as `op.lattice_filter`."""
    batch, channels, points = values.shape
    values, vertices, weights, neighbours = (x.contiguous() for x in (values, *parts[:3]))
    starts, entries = parts[3:]
    corners, rows = vertices.shape[2], neighbours.shape[1]
    width = min(24, channels)
    check_memory(values.element_size() * width * (2 * rows + batch * points), f"filtering on {rows} lattice points")
    result = torch.empty_like(values)
    if batch * points > _MANY_POINTS:
        idle_threads.send_away()
    job = LatticeFilterJob(
        values=native.pointer(values, values.dtype),
        output=native.pointer(result, values.dtype),
        batch=batch,
        channels=channels,
        points=points,
        rows=rows,
        vertices=native.pointer(vertices, torch.int32),
        weights=native.pointer(weights, values.dtype),
        neighbours=native.pointer(neighbours, torch.int32),
        starts=native.pointer(starts, torch.int32),
        entries=native.pointer(entries, torch.int32),
        scale=1 / (1 + 2.0 ** (1 - corners)),
        d=corners - 1,
        reverse=reverse,
        type=native.number_of(values.dtype),
        n_threads=torch.get_num_threads(),
    )
    native.run("df_lattice_filter", job)
    return result
