"""From outlines to pixels. A point (x, y) counts from the upper left corner of the image: pixels' centers lie at ½."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from densefield.checks import check, counted

Points: TypeAlias = npt.NDArray[np.float64]  # (N, 2), x and y
Pixels: TypeAlias = tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]  # rows, columns
Drawn: TypeAlias = Callable[[tuple[int, int]], Pixels]  # takes the image's (height, width)

_TOLERATED = 1.0  # pixels by which tools overshoot the border


def painted(
    shapes: Sequence[tuple[int, Drawn]],  # class index, pixels
    ground: int,
    left_out: Counter[str],
) -> Callable[[tuple[int, int]], npt.NDArray[np.uint8]]:
    """A function of an image's size that gives its labels: the shapes in their order, later ones on top."""

    def labels(size: tuple[int, int]) -> npt.NDArray[np.uint8]:
        drawing = np.full(size, ground, np.uint8)
        for index, drawn in shapes:
            rows, columns = drawn(size)
            left_out["shape without a pixel"] += len(rows) == 0
            drawing[rows, columns] = index
        return drawing

    return labels


def polygon(points: Points, where: str) -> Drawn:
    """The pixels whose centers lie inside; raises `InputError` for fewer than 3 points, and for one too far out."""
    check(len(points) >= 3, f"{where}: a polygon of {counted(len(points), 'point')}; wanted at least 3")

    def drawn(size: tuple[int, int]) -> Pixels:
        check_inside(points, size, where)
        return _inside(points - 0.5, size)

    return drawn


def _inside(points: Points, size: tuple[int, int]) -> Pixels:
    """The points of the grid that have an odd number of edges to their left.

    Row by row, as COCO's 860,000 outlines take more than an hour where every pixel is asked (`skimage.draw`).
    """
    x, y = points.T
    dx, dy = np.roll(x, -1) - x, np.roll(y, -1) - y
    begin = np.ceil(np.minimum(y, y + dy)).clip(0, size[0]).astype(np.intp)  # the first row that the edge crosses
    count = np.ceil(np.maximum(y, y + dy)).clip(0, size[0]).astype(np.intp) - begin
    edges = np.repeat(np.arange(len(x)), count)  # once for each row
    rows = np.arange(len(edges)) + np.repeat(begin - np.cumsum(count) + count, count)
    columns = np.ceil(x[edges] + (rows - y[edges]) * dx[edges] / dy[edges]).clip(0, size[1]).astype(np.intp)
    if len(edges) == 0:
        return rows, columns
    top, left = rows.min(), columns.min()
    height, width = rows.max() - top + 1, columns.max() - left + 1
    crossed = np.bincount((rows - top) * width + columns - left, minlength=height * width).reshape(height, width)
    rows, columns = np.nonzero(np.cumsum(crossed, axis=1) % 2)
    return rows + top, columns + left


def ellipse(center: Points, radii: Points, turned: float, where: str) -> Drawn:
    """The pixels inside an ellipse with these radii along x and y before it is turned clockwise, in degrees."""
    check(bool((radii > 0).all()), f"{where}: radii: wanted positive numbers, received {radii[0]:g} and {radii[1]:g}")

    def drawn(size: tuple[int, int]) -> Pixels:
        from skimage import draw

        check_inside(center[None], size, where)
        x, y = center - 0.5
        rows, columns = draw.ellipse(y, x, radii[1], radii[0], shape=size, rotation=-np.deg2rad(turned % 180))
        return rows, columns

    return drawn


def check_inside(points: Points, size: tuple[int, int], where: str) -> None:
    """Raise for a point that lies outside of the image: clipping would hide that the image is another than labelled."""
    height, width = size
    beyond = (points < -_TOLERATED) | (points > np.array([width, height]) + _TOLERATED)
    if beyond.any():
        x, y = points[beyond.any(axis=1)][0]
        check(False, f"{where}: the point ({x:g}, {y:g}) lies outside of the image, which has {width}x{height} pixels")
