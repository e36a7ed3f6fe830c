"""One transform after the other."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.unsignedinteger]
Pair = tuple[Pixels, Labels]  # image (H, W, 3), target (H, W)


class Transform(Protocol):
    """Anything that changes an image and its target together, drawing all its chance from `rng`."""

    def __call__(self, image: Pixels, target: Labels, rng: np.random.Generator) -> Pair: ...


class Compose:
    """Apply `steps` in their order."""

    def __init__(self, *steps: Transform) -> None:
        self.steps = steps

    def __call__(self, image: Pixels, target: Labels, rng: np.random.Generator) -> Pair:
        for step in self.steps:
            image, target = step(image, target, rng)
        return image, target

    def __repr__(self) -> str:
        return f"Compose({', '.join(map(repr, self.steps))})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Compose) and self.steps == other.steps

    def __hash__(self) -> int:
        return hash(self.steps)
