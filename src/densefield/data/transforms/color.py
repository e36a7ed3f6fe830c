"""Random light and color; labels stay as they are."""

from __future__ import annotations

import dataclasses
import math

import cv2
import numpy as np
import numpy.typing as npt

from densefield.checks import check, finite_number
from densefield.data.transforms.compose import Labels, Pair, Pixels
from densefield.images import LUMINANCE


@dataclasses.dataclass(frozen=True)
class ColorJitter:
    """Change brightness, contrast and saturation by factors from [1 - x, 1 + x], hue by up to `hue` of a full turn.

    All four are linear in RGB, so they are multiplied into one 3x4 matrix that runs over the image once. Hue turns
    colors about the gray axis, contrast stretches about the image's mean brightness.
    """

    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.2
    hue: float = 0.0

    def __post_init__(self) -> None:
        for name in ("brightness", "contrast", "saturation", "hue"):
            amount = finite_number(name, getattr(self, name))
            check(0 <= amount <= 1, f"{name}: wanted 0 to 1, received {amount:g}")

    def __call__(self, image: Pixels, target: Labels, rng: np.random.Generator) -> Pair:
        brightness, contrast, saturation = (
            1.0 + amount * rng.uniform(-1.0, 1.0) for amount in (self.brightness, self.contrast, self.saturation)
        )
        turn = self.hue * rng.uniform(-1.0, 1.0)
        matrix = _colors(saturation, turn)
        gray = float(image.reshape(-1, 3).mean(axis=0) @ LUMINANCE)
        shift = np.full((3, 1), (1.0 - contrast) * gray * brightness)
        full = np.hstack([contrast * brightness * matrix, shift])
        return cv2.transform(np.ascontiguousarray(image), full).astype(np.uint8), target


def _colors(saturation: float, turn: float) -> npt.NDArray[np.float64]:  # (3, 3)
    """Scale the distance from gray by `saturation` and rotate by `turn` about the axis red = green = blue."""
    gray = np.tile(LUMINANCE, (3, 1))
    cosine, sine = math.cos(2 * math.pi * turn), math.sin(2 * math.pi * turn)
    axis = np.full((3, 3), 1.0 / 3.0)
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3.0)
    rotation = cosine * np.eye(3) + sine * cross + (1.0 - cosine) * axis  # Rodrigues
    return (saturation * np.eye(3) + (1.0 - saturation) * gray) @ rotation
