"""Random scaling, rotation and all of them with elastic deformation in one resampling."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from densefield.checks import check, finite_number
from densefield.data.transforms.compose import Labels, Pair, Pixels
from densefield.data.transforms.elastic import ElasticDeformation
from densefield.data.transforms.warp import warp, warped_size


@dataclasses.dataclass(frozen=True)
class RandomScale:
    """Enlarge or shrink by a factor whose logarithm is uniform between those of `least` and `most`."""

    least: float = 0.75
    most: float = 1.5

    def __post_init__(self) -> None:
        check(0 < self.least <= self.most, f"scale: wanted 0 < least <= most, received {self.least} and {self.most}")

    def draw(self, rng: np.random.Generator) -> float:
        """A factor."""
        return math.exp(rng.uniform(math.log(self.least), math.log(self.most)))

    def __call__(self, image: Pixels, target: Labels, rng: np.random.Generator) -> Pair:
        return warp(image, target, scale=self.draw(rng))


@dataclasses.dataclass(frozen=True)
class RandomRotation:
    """Turn about the centre by up to `degrees` either way; the size stays."""

    degrees: float = 10.0

    def __post_init__(self) -> None:
        check(finite_number("degrees", self.degrees) >= 0, f"degrees: wanted 0 or more, received {self.degrees}")

    def draw(self, rng: np.random.Generator) -> float:
        """An angle in degrees."""
        return rng.uniform(-self.degrees, self.degrees)

    def __call__(self, image: Pixels, target: Labels, rng: np.random.Generator) -> Pair:
        return warp(image, target, degrees=self.draw(rng))


@dataclasses.dataclass(frozen=True)
class RandomWarp:
    """Any of scaling, rotation and elastic deformation (its sigma in source pixels), resampling pixels only once."""

    scale: RandomScale | None = None
    rotation: RandomRotation | None = None
    elastic: ElasticDeformation | None = None

    def __call__(self, image: Pixels, target: Labels, rng: np.random.Generator) -> Pair:
        scale = 1.0 if self.scale is None else self.scale.draw(rng)
        degrees = 0.0 if self.rotation is None else self.rotation.draw(rng)
        size = warped_size(target.shape[0], target.shape[1], scale)
        displacement = None if self.elastic is None else self.elastic.draw(*size, rng)
        return warp(image, target, scale=scale, degrees=degrees, displacement=displacement)
