"""Mirror images and right-angle turns."""

from __future__ import annotations

import dataclasses

import numpy as np

from densefield.data.transforms.compose import Labels, Pair, Pixels


@dataclasses.dataclass(frozen=True)
class RandomFlip:
    """Swap left and right in a share `probability` of all cases."""

    probability: float = 0.5

    def __call__(self, image: Pixels, target: Labels, rng: np.random.Generator) -> Pair:
        if rng.random() >= self.probability:
            return image, target
        # Copies, because torch.from_numpy refuses negative strides.
        return image[:, ::-1].copy(), target[:, ::-1].copy()


@dataclasses.dataclass(frozen=True)
class RandomDihedral:
    """One of the eight turns and mirror images of a square, for pictures without an up (microscopes, satellites)."""

    def __call__(self, image: Pixels, target: Labels, rng: np.random.Generator) -> Pair:
        turns, mirrored = int(rng.integers(4)), bool(rng.integers(2))
        if mirrored:
            image, target = image[:, ::-1], target[:, ::-1]
        return np.rot90(image, turns).copy(), np.rot90(target, turns).copy()
