"""Maxima that remember where they were, as SegNet and DeconvNet undo their poolings, and how far such networks see."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor
from torch.nn import functional


class Places(NamedTuple):
    """Where the maxima of a pooling stood: indices (B, C, h, w) into the `height` × `width` values of each channel."""

    indices: Tensor
    height: int
    width: int


def pooled(features: Tensor) -> tuple[Tensor, Places]:
    """The maxima of 2×2 cells, (B, C, ⌈H/2⌉, ⌈W/2⌉), and their places; at odd sides the last cells are smaller."""
    height, width = features.shape[2:]
    maxima, indices = functional.max_pool2d(features, 2, stride=2, ceil_mode=True, return_indices=True)
    return maxima, Places(indices, height, width)


def unpooled(features: Tensor, places: Places) -> Tensor:
    """Each feature where its maximum stood, zeros elsewhere; of exactly the size that was pooled."""
    return functional.max_unpool2d(features, places.indices, (2, 2), output_size=(places.height, places.width))


class Sight(NamedTuple):
    """What a feature sees: pixels from `left` before to `right` behind its own; features lie `spacing` pixels apart.

    A remembered maximum sees its whole cell; an unpooled feature is looked at from either place of its cell.
    """

    left: int = 0
    right: int = 0
    spacing: int = 1

    def convolved(self, radius: int, times: int = 1) -> Sight:
        """After `times` convolutions that reach `radius` features to either side."""
        wider = radius * times * self.spacing
        return Sight(self.left + wider, self.right + wider, self.spacing)

    def pooled(self) -> Sight:
        """After a 2×2 pooling."""
        return Sight(self.left, self.right + self.spacing, 2 * self.spacing)

    def unpooled(self) -> Sight:
        """After its undoing."""
        spacing = self.spacing // 2
        return Sight(self.left + spacing, self.right, spacing)
