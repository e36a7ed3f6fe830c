"""Overlap-tile: the scores of an image of any size, one tile in memory at a time.

Ronneberger, Fischer, Brox, "U-Net", MICCAI 2015, section 2 and figure 2: a tile's centre is kept, its surroundings only
inform it, and what lies outside the image is mirrored.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import NamedTuple

from torch import Tensor

from densefield.checks import InputError, check


class Span(NamedTuple):
    """Along one axis: what a tile reads (may reach outside the image), and the part whose scores are kept."""

    start: int
    stop: int
    keep_start: int
    keep_stop: int


def padded_spans(length: int, *, tile: int, overlap: int, stride: int = 1) -> list[Span]:
    """Tiles for a network whose scores have the image's size: at most `tile` long, `overlap` read on each inner side.

    Tiles begin and end at multiples of `stride` or at the image's border, where the network's own padding serves. So
    the kept scores equal the whole image's when the network's reach is at most `overlap`.
    """
    if length <= tile:
        return [Span(0, length, 0, length)]
    overlap = -(-overlap // stride) * stride
    longest = tile // stride * stride
    step = longest - 2 * overlap
    if step <= 0:
        least = 2 * overlap + stride
        raise InputError(f"tile: wanted at least {least} (twice the overlap plus the stride {stride}), received {tile}")
    last = -(-(length - longest) // stride) * stride
    starts = [*range(0, last, step), last]
    borders = [0, *(start + overlap for start in starts[1:]), length]
    return [
        Span(start, min(start + longest, length), keep_start, keep_stop)
        for start, keep_start, keep_stop in zip(starts, borders, borders[1:], strict=False)
    ]


def valid_spans(length: int, *, tile: int, margin: int, stride: int, smallest: int) -> list[Span]:
    """Tiles for a network of valid convolutions, which loses `margin` on each side and reads only fitting lengths.

    Fitting lengths are `smallest` plus multiples of `stride` (188 + 16 n for the paper's U-Net). Every tile reads
    `margin` more than it keeps, so that its scores are the whole image's without further overlap.
    """
    check(tile >= smallest, f"tile: wanted at least {smallest}, the least this network reads, received {tile}")

    def fitting(wanted: int) -> int:
        """The shortest fitting length that is at least `wanted`."""
        return smallest + max(0, -(-(wanted - smallest) // stride)) * stride

    longest = smallest + (tile - smallest) // stride * stride
    if length + 2 * margin <= longest:
        return [Span(-margin, fitting(length + 2 * margin) - margin, 0, length)]
    step = (longest - 2 * margin) // stride * stride
    if step == 0:
        wanted = fitting(2 * margin + stride)
        raise InputError(f"tile: wanted at least {wanted} for a network of stride {stride}, received {tile}")
    starts = range(0, length, step)
    return [Span(start - margin, start - margin + longest, start, min(start + step, length)) for start in starts]


def score_tiles(
    score: Callable[[Span, Span], Tensor],  # (rows, columns) -> (B, K, stop - start - 2 margin, ...)
    rows: list[Span],
    columns: list[Span],
    margin: int = 0,
) -> Iterator[tuple[int, int, Tensor]]:
    """Yield each tile's first row, first column and kept scores (B, K, h, w), row by row; never holds more than one."""
    for row, column in itertools.product(rows, columns):
        scores = score(row, column)
        top, left = row.keep_start - row.start - margin, column.keep_start - column.start - margin
        height, width = row.keep_stop - row.keep_start, column.keep_stop - column.keep_start
        yield row.keep_start, column.keep_start, scores[:, :, top : top + height, left : left + width]
