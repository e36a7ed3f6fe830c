"""The window of pixel pairs: its half offsets, the memory of native kernels, and the checks of its options."""

from __future__ import annotations

from collections.abc import Iterator
from types import EllipsisType
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from densefield.checks import MOST, InputError, shown

Distance = Literal["l1", "l2", "dot"]
Border = Literal["valid", "zero", "published"]
DISTANCES: tuple[Distance, ...] = ("l1", "l2", "dot")
BORDERS: tuple[Border, ...] = ("valid", "zero", "published")

Index = tuple[EllipsisType, slice, slice]

_ALIGNMENT, _OCTET, _BLOCK = 16, 8, 16  # csrc/window/window.h computes the same sizes


class Window(NamedTuple):
    """A window of `size` x `size` pixels, `rate` apart, over maps (batch, channels, height, width): a job's `shape`."""

    batch: int
    height: int
    width: int
    size: int
    rate: int

    @staticmethod
    def over(values: Tensor, size: int, rate: int) -> Window:
        """Give the window over `values` (B, C, H, W)."""
        batch, _, height, width = values.shape
        return Window(batch, height, width, size, rate)

    @property
    def half_y(self) -> int:
        """The largest dy, in steps of `rate`, that stays inside the image somewhere."""
        return min(self.size // 2, (self.height - 1) // self.rate)

    @property
    def half_x(self) -> int:
        """The largest dx, in steps of `rate`, that stays inside the image somewhere."""
        return min(self.size // 2, (self.width - 1) // self.rate)

    @property
    def pairs(self) -> int:
        """The number of half offsets: each unordered pair of pixels once."""
        return self.half_x + self.half_y * (2 * self.half_x + 1)

    @property
    def stride(self) -> int:
        """Elements between the rows of native planes."""
        return _round_up(self.width + self.half_x * self.rate)

    @property
    def lead(self) -> int:
        """Zeros before and after native planes."""
        return _round_up((self.half_x + _BLOCK) * self.rate)

    def elements(self, planes: int) -> int:
        """Elements of so many native planes."""
        return 2 * self.lead + self.batch * self.height * planes * self.stride

    def view(self, flat: Tensor, planes: int) -> Tensor:  # (B, H, planes, W)
        """Look into native planes."""
        inner = flat[self.lead : flat.numel() - self.lead]
        return inner.view(self.batch, self.height, planes, self.stride)[..., : self.width]

    def map_elements(self, channels: int) -> int:
        """Elements of a native map."""
        pixels = self.batch * self.height * _round_up(self.width + self.half_x * self.rate, _OCTET)
        lead = _round_up((self.half_x + _BLOCK) * self.rate, _OCTET)
        return (pixels + 2 * lead) * _round_up(channels, _OCTET)

    def half_offset(self, k: int) -> tuple[int, int]:
        """Give the k-th half offset (dy, dx), in steps of `rate`, in the order of `slices`."""
        if k < self.half_x:
            return 0, k + 1
        dy, dx = divmod(k - self.half_x, 2 * self.half_x + 1)
        return dy + 1, dx - self.half_x

    def slices(self) -> Iterator[tuple[Index, Index]]:
        """Give, for each half offset, the index of all pixels with a neighbour there, and that of the neighbours."""
        for dy in range(self.half_y + 1):
            for dx in range(-self.half_x, self.half_x + 1):
                if dy > 0 or dx > 0:
                    y, x = dy * self.rate, dx * self.rate
                    yield (
                        (..., slice(0, self.height - y), slice(max(0, -x), self.width - max(0, x))),
                        (..., slice(y, self.height), slice(max(0, x), self.width - max(0, -x))),
                    )

    def outside(self, device: torch.device, dtype: torch.dtype) -> Tensor:  # (H, W)
        """Count, for each pixel, the window's places that lie outside the image."""
        inside = [self._inside(size, device, dtype) for size in (self.height, self.width)]
        return self.size**2 - inside[0][:, None] * inside[1]

    def _inside(self, size: int, device: torch.device, dtype: torch.dtype) -> Tensor:  # (size,)
        places = torch.arange(size, device=device)
        half = self.size // 2
        before = (places // self.rate).clamp(max=half)
        after = ((size - 1 - places) // self.rate).clamp(max=half)
        return (before + after + 1).to(dtype)


def check_window(window: int, rate: int, distance: str, border: str) -> None:
    """Raise `InputError` for a window, rate, distance or border that does not exist."""
    if not (isinstance(window, int) and 1 <= window <= MOST and window % 2 == 1):
        raise InputError(f"window: wanted an odd whole number, received {shown(window)}")
    if not (isinstance(rate, int) and 1 <= rate <= MOST):
        raise InputError(f"rate: wanted a dilation of 1 or more, received {shown(rate)}")
    if not (isinstance(distance, str) and distance in DISTANCES):
        raise InputError(f"distance: wanted one of {', '.join(DISTANCES)}, received {shown(distance)}")
    if not (isinstance(border, str) and border in BORDERS):
        raise InputError(f"border: wanted one of {', '.join(BORDERS)}, received {shown(border)}")


def check_embeddings(embeddings: Tensor) -> None:
    """Raise `InputError` unless `embeddings` are a floating-point (B, D, H, W) map that is not empty."""
    wanted = "embeddings: wanted a floating-point tensor (B, D, H, W) with no size 0"
    if not isinstance(embeddings, Tensor):
        raise InputError(f"{wanted}, received {shown(embeddings)}")
    if embeddings.dim() != 4 or not embeddings.is_floating_point() or embeddings.numel() == 0:
        raise InputError(f"{wanted}, received {embeddings.dtype} {tuple(embeddings.shape)}")


def _round_up(count: int, to: int = _ALIGNMENT) -> int:
    return -(-count // to) * to
