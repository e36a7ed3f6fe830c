"""Windows of a fixed size."""

from __future__ import annotations

import dataclasses

import numpy as np

from densefield.checks import check
from densefield.data.sample import IGNORED
from densefield.data.transforms.compose import Labels, Pair, Pixels


@dataclasses.dataclass(frozen=True)
class RandomCrop:
    """A window of `height` x `width` at a random place; smaller images are first continued on all sides."""

    height: int
    width: int

    def __post_init__(self) -> None:
        check(self.height > 0 and self.width > 0, f"crop: wanted positive sides, received {self.height}x{self.width}")

    def __call__(self, image: Pixels, target: Labels, rng: np.random.Generator) -> Pair:
        top = _start(image.shape[0], self.height, rng)
        left = _start(image.shape[1], self.width, rng)
        return crop(image, target, top, left, self.height, self.width)


def crop(image: Pixels, target: Labels, top: int, left: int, height: int, width: int) -> Pair:
    """The window that begins at (top, left), which may lie outside: there images are mirrored and targets are 255."""
    rows, columns = target.shape
    check(rows > 0 and columns > 0, f"image: wanted at least one pixel, received {rows}x{columns}")
    around = (
        (max(0, -top), max(0, top + height - rows)),
        (max(0, -left), max(0, left + width - columns)),
    )
    if np.any(around):
        image = np.pad(image, (*around, (0, 0)), mode="reflect")
        target = np.pad(target, around, constant_values=IGNORED)
    top, left = max(0, top), max(0, left)
    window = np.s_[top : top + height, left : left + width]
    return np.ascontiguousarray(image[window]), np.ascontiguousarray(target[window])


def _start(length: int, wanted: int, rng: np.random.Generator) -> int:
    """Where a window of `wanted` begins on a side of `length`: anywhere inside, or so that all of the side is in it."""
    low, high = sorted((0, length - wanted))
    return int(rng.integers(low, high + 1))
