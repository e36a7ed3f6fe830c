"""Smooth random deformations, as U-Net is trained with.

Ronneberger, Fischer, Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation", 2015, section 3.1.
"""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import numpy.typing as npt

from densefield.checks import check
from densefield.data.transforms.compose import Labels, Pair, Pixels
from densefield.data.transforms.warp import warp


@dataclasses.dataclass(frozen=True)
class ElasticDeformation:
    """Move pixels by normal random vectors of `sigma` pixels on a coarse `grid` x `grid`, bicubic in between."""

    sigma: float = 10.0
    grid: int = 3

    def __call__(self, image: Pixels, target: Labels, rng: np.random.Generator) -> Pair:
        return warp(image, target, displacement=self.draw(target.shape[0], target.shape[1], rng))

    def draw(self, height: int, width: int, rng: np.random.Generator) -> npt.NDArray[np.float32]:  # (2, height, width)
        """A displacement (x, y) for each pixel."""
        return coarse_displacement(rng.normal(0.0, self.sigma, (2, self.grid, self.grid)), height, width)


def coarse_displacement(
    vectors: npt.NDArray[np.float64],  # (2, rows, columns)
    height: int,
    width: int,
) -> npt.NDArray[np.float32]:  # (2, height, width)
    """Vectors at the knots of a coarse grid, whose corners are the image's, for every pixel by bicubic convolution."""
    rows, columns = vectors.shape[1:]
    check(rows >= 3 and columns >= 3, f"grid: wanted at least 3x3 vectors, received {rows}x{columns}")
    dense = _cubic_weights(height, rows) @ vectors  # (2, height, columns)
    return dense.astype(np.float32) @ _cubic_weights(width, columns).T.astype(np.float32)


@functools.lru_cache(maxsize=64)
def _cubic_weights(length: int, knots: int) -> npt.NDArray[np.float64]:  # (length, knots)
    """How much each of `knots` evenly spaced values counts at each of `length` positions.

    Keys, "Cubic Convolution Interpolation for Digital Image Processing", 1981 (a = -1/2), with his rule for the ends:
    the value beyond the last knot is 3 f_n - 3 f_(n-1) + f_(n-2). Exact for parabolas.
    """
    places = np.linspace(0.0, knots - 1.0, length)
    left = np.clip(np.floor(places).astype(int), 0, knots - 2)
    t = places - left
    near = np.stack(  # weights of the knots left-1, left, left+1, left+2
        [
            ((-0.5 * t + 1.0) * t - 0.5) * t,
            (1.5 * t - 2.5) * t * t + 1.0,
            ((-1.5 * t + 2.0) * t + 0.5) * t,
            (0.5 * t - 0.5) * t * t,
        ],
        axis=1,
    )
    padded = np.zeros((length, knots + 2))
    for offset in range(4):
        padded[np.arange(length), left + offset] += near[:, offset]
    weights = padded[:, 1:-1].copy()
    weights[:, :3] += padded[:, :1] * np.array([3.0, -3.0, 1.0])
    weights[:, -3:] += padded[:, -1:] * np.array([1.0, -3.0, 3.0])
    weights.flags.writeable = False  # shared by all callers
    return weights
