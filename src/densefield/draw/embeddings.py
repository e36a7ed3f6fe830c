"""Pictures of embeddings: as colors, and as what a pixel's neighbours look like to it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from densefield.checks import check
from densefield.draw.pictures import UNCOUNTED, Picture, checked_picture, score_map, side_by_side

if TYPE_CHECKING:
    from torch import Tensor

_MOST = 2**17  # pixels that directions are found from: more do not change them, and cost memory
_PANEL = 216  # pixels: about how wide an enlarged window is


def draw_embeddings(embeddings: ArrayLike | Tensor) -> Picture:
    """Embeddings (D, H, W) as colors: red, green and blue are their three main directions, each stretched.

    Alike colors mean alike embeddings. Directions are those of the greatest variance (PCA), and turned so that their
    largest entry is positive: the same embeddings give the same picture. Raises `InputError` for other shapes and NaN.
    """
    values = _vectors(embeddings)
    depth, height, width = values.shape
    every = math.ceil(math.sqrt(height * width / _MOST))
    points = values[:, ::every, ::every].reshape(depth, -1).astype(np.float64)
    variances, directions = np.linalg.eigh(np.cov(points, bias=True).reshape(depth, depth))
    directions = directions[:, ::-1][:, :3]
    largest = np.abs(directions).argmax(axis=0)
    directions = directions * np.sign(directions[largest, np.arange(directions.shape[1])])
    drawn = np.full((3, height, width), 127.5)
    # What is left of a direction without variance is rounding; stretched, it would look like structure.
    known = variances[::-1][:3] > 1e-9 * variances[-1] + 1e-12 * np.square(points).mean()
    for channel in np.flatnonzero(known):
        place = np.tensordot(directions[:, channel].astype(values.dtype), values, axes=1).astype(np.float64)
        low, high = np.percentile(place, (1, 99))  # a few far pixels must not make all others alike
        low, high = (low, high) if low < high else (place.min(), place.max())
        drawn[channel] = 255 * np.clip((place - low) / (high - low), 0, 1)
    return np.rint(drawn).astype(np.uint8).transpose(1, 2, 0).copy()


def draw_affinity(
    image: Picture,  # (H, W, 3)
    embeddings: ArrayLike | Tensor,  # (D, H, W)
    row: int,
    column: int,
    *,
    window: int = 9,
    rate: int = 1,
    scale: Tensor | float = 1.0,
    distance: Literal["l1", "l2", "dot"] = "l1",
    sigma_range: float = 0.1,
) -> Picture:
    """Which neighbours a pixel takes for its like: its patch, their embeddings, the learned mask, the mask of colors.

    Figure 2 of Harley et al. (2016): in a window around (`row`, `column`), enlarged, exp(-scale d(e_i, e_j)) beside the
    bilateral filter's exp(-|I_i - I_j|² / 2 sigma_range²) of the image in [0, 1]; yellow is 1, violet 0, grey outside
    the image. Options are those of `EmbeddingFilter`. Raises `InputError` for a place outside and sizes that differ.
    """
    image = checked_picture("image", image)
    values = _vectors(embeddings)
    height, width = image.shape[:2]
    check(
        values.shape[1:] == (height, width),
        f"embeddings: wanted the image's size (D, {height}, {width}), received {values.shape}",
    )
    check(0 <= row < height, f"row: wanted 0 to {height - 1}, received {row}")
    check(0 <= column < width, f"column: wanted 0 to {width - 1}, received {column}")
    check(window >= 1 and window % 2 == 1, f"window: wanted an odd number of pixels, received {window}")
    check(rate >= 1, f"rate: wanted at least 1, received {rate}")
    check(sigma_range > 0, f"sigma_range: wanted a positive number, received {sigma_range}")
    steps = rate * np.arange(-(window // 2), window // 2 + 1)
    rows, columns = (row + steps)[:, None], (column + steps)[None, :]
    outside = (rows < 0) | (rows >= height) | (columns < 0) | (columns >= width)
    rows, columns = rows.clip(0, height - 1), columns.clip(0, width - 1)

    colors = image / 255.0
    apart = _distances(values[:, rows, columns], values[:, row, column], distance)
    strange = ((colors[rows, columns] - colors[row, column]) ** 2).sum(axis=2) / (2 * sigma_range**2)
    panels = [
        np.where(outside[..., None], np.array(UNCOUNTED, np.uint8), whole[rows, columns])
        for whole in (image, draw_embeddings(values))
    ]
    factor = float(scale.detach() if hasattr(scale, "detach") else scale)
    for exponent in (factor * apart, strange):
        panels.append(score_map(np.where(outside, np.nan, np.exp(-exponent)), low=0.0, high=1.0))
    cell = max(3, _PANEL // window)
    captions = ("patch", "embeddings", "embedding mask", "color mask")
    return side_by_side([_enlarged(panel, cell) for panel in panels], captions)


def _distances(vectors: NDArray[np.floating], center: NDArray[np.floating], distance: str) -> NDArray[np.float64]:
    """From `center` (D,) to `vectors` (D, h, w), as `affinity_filter` measures them."""
    vectors, center = vectors.astype(np.float64), center.astype(np.float64)
    check(distance in ("l1", "l2", "dot"), f"distance: wanted l1, l2 or dot, received {distance!r}")
    if distance == "dot":
        return -np.tensordot(center, vectors, axes=1)
    difference = vectors - center[:, None, None]
    return np.abs(difference).sum(axis=0) if distance == "l1" else (difference**2).sum(axis=0) / 2


def _enlarged(panel: Picture, cell: int) -> Picture:
    """Every pixel as a square of `cell` pixels; the middle one framed, black within white, to be seen on any color."""
    large = panel.repeat(cell, axis=0).repeat(cell, axis=1)
    first = panel.shape[0] // 2 * cell
    for inset, color in ((0, 255), (1, 0)):
        start, end = first + inset, first + cell - inset
        frame = large[start:end, start:end]
        inside = frame[1:-1, 1:-1].copy()
        frame[:] = color
        frame[1:-1, 1:-1] = inside
    return large


def _vectors(embeddings: ArrayLike | Tensor) -> NDArray[np.floating]:  # (D, H, W)
    """The embeddings checked, in single or double precision: whole images of them are large."""
    if hasattr(embeddings, "detach"):
        embeddings = embeddings.detach().cpu()
        embeddings = embeddings if embeddings.element_size() >= 4 else embeddings.float()
    numbers = np.asarray(embeddings)
    if numbers.dtype not in (np.float32, np.float64):
        numbers = numbers.astype(np.float64)
    check(
        numbers.ndim == 3 and numbers.size > 0,
        f"embeddings: wanted shape (D, H, W), received {numbers.shape}; of a batch, draw one at a time",
    )
    check(bool(np.isfinite(numbers).all()), "embeddings: holds NaN or Inf values; wanted finite numbers only")
    return numbers
