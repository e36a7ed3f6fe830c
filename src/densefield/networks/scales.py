"""DeepLab's scales: scores at stride 8 of the image at several sizes, their maximum, and its way back to the pixels.

Chen, Papandreou, Kokkinos, Murphy, Yuille, "DeepLab: Semantic Image Segmentation with Deep Convolutional Nets, Atrous
Convolution, and Fully Connected CRFs", PAMI 2017, section 4.1 (multi-scale), with its published definition.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from fractions import Fraction
from typing import Annotated, TypeAlias

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from densefield.checks import check, check_map, shown
from densefield.networks.resampling import bilinear, padded
from densefield.networks.resnet import ResNet
from densefield.networks.vgg import VGG

STRIDE = 8
Factors: TypeAlias = Annotated[
    Sequence[Annotated[float, Field(gt=0, le=4)]], Field(min_length=1, max_length=16, description="1 among them")
]
Made: TypeAlias = list[tuple[Fraction, Tensor]]  # scores of each scale on its own grid, the largest first


class Scales:
    """Scores (B, K, H, W) by layers that make them at stride 8: `coarse(image)`, (B, K, h, w).

    The image is resized by each of `factors`; scores of all are brought to the grid of the image itself, where the
    largest count, and enlarged bilinearly.

    `align_corners`, as published: n pixels become (n − 1)·s + 1, and feature i lies at pixel 8 i + `offset` (0 or ½) of
    the resized image. For that the image is padded with zeros, below and to the right, to sides of `stride`·q + 1; a
    single scale needs it only for layers that do not `round_up`, whose features end before the image does.
    Without `align_corners` n become ⌊n·s⌋, features are spread over the image whatever its sides, and nothing is
    padded, as in kazuto1011/deeplab-pytorch. Where a score lies then depends on the image's size, so that tiles never
    give quite the scores of the whole.
    """

    def __init__(
        self, factors: Sequence[float], *, align_corners: bool, offset: float = 0.0, round_up: bool = True
    ) -> None:
        check(isinstance(factors, Sequence), f"scales: wanted a list of numbers, received {shown(factors)}")
        exact = [Fraction(factor).limit_denominator(16) for factor in factors]
        near = all(0 < f <= 4 and abs(f - given) < 1e-6 for f, given in zip(exact, factors, strict=True))
        check(near, f"scales: wanted fractions of at most 16 parts, such as 0.5 and 0.75, received {tuple(factors)}")
        single = 1 in exact and len(set(exact)) == len(exact)
        check(single, f"scales: wanted 1 among them, and each once, received {tuple(factors)}")
        self.factors = sorted(exact, reverse=True)
        self.stride = STRIDE * math.lcm(*(factor.denominator for factor in exact))
        self.align_corners, self.offset = align_corners, offset
        self._pads = align_corners and (len(exact) > 1 or not round_up)

    def reach(self, coarse: int) -> int | None:
        """How far a pixel's score sees, where a feature sees no pixel further than `coarse` from pixel 8 i."""
        if not self.align_corners:
            return None
        # Enlarging reads features nearer than 8 pixels. So does what brings other scales to the grid of 1, whose points
        # lie at whole parts between theirs where nothing is shifted; and resizing reads the next pixel.
        between = {f: STRIDE - (0 if self.offset else Fraction(STRIDE, f.denominator)) for f in self.factors if f != 1}
        others = [math.ceil((coarse + nearer) / factor) + 1 for factor, nearer in between.items()]
        return max([coarse, *others]) + STRIDE

    def scores(self, image: Tensor, coarse: Callable[[Tensor], Tensor]) -> Tensor:  # (B, C, H, W) -> (B, K, H, W)
        """The largest scores of all scales at each pixel."""
        return self._enlarged(self._joined(self._made(image, coarse)), image)

    def all_scores(self, image: Tensor, coarse: Callable[[Tensor], Tensor]) -> tuple[Tensor, ...]:
        """`scores`, then those of each of several scales: at stride 8, but 1/2, 1/3 … at their own 16, 24 …

        Score i of stride s lies at pixel s·i; all such pixels of the image have one.
        """
        made = self._made(image, coarse)
        return self._enlarged(self._joined(made), image), *self._each(made, image)

    def own_scores(self, image: Tensor, coarse: Callable[[Tensor], Tensor]) -> tuple[Tensor, ...]:
        """`all_scores` without enlarging the first, which are at stride 8 too: what the authors' losses see."""
        made = self._made(image, coarse)
        return self._at_stride(Fraction(1), self._joined(made), made, image), *self._each(made, image)

    def _each(self, made: Made, image: Tensor) -> list[Tensor]:
        """Each of several scales' scores at its own stride."""
        return [self._at_stride(*each, made, image) for each in made] if len(made) > 1 else []

    def _made(self, image: Tensor, coarse: Callable[[Tensor], Tensor]) -> Made:
        image = padded(image, self.stride, 1) if self._pads else self._at_least(image)
        return [(factor, coarse(self._resized(image, factor))) for factor in self.factors]

    def _at_least(self, image: Tensor) -> Tensor:
        """Zeros below and to the right of an image of which the smallest scale would leave nothing."""
        least = math.ceil(1 / self.factors[-1])
        if least == 1:
            return image
        height, width = image.shape[2:]
        return functional.pad(image, (0, torch.sym_max(least - width, 0), 0, torch.sym_max(least - height, 0)))

    def _resized(self, image: Tensor, factor: Fraction) -> Tensor:
        if factor == 1:
            return image
        if not self.align_corners:
            return functional.interpolate(image, scale_factor=float(factor), mode="bilinear", align_corners=False)
        size = [(length - 1) * factor.numerator // factor.denominator + 1 for length in image.shape[2:]]
        return functional.interpolate(image, size=size, mode="bilinear", align_corners=True)

    def _joined(self, made: Made) -> Tensor:
        """The largest at each feature of scale 1."""
        grid = dict(made)[Fraction(1)]
        each = [scores if factor == 1 else self._on_grid(factor, scores, grid) for factor, scores in made]
        return functools.reduce(torch.maximum, each)

    def _on_grid(self, factor: Fraction, scores: Tensor, grid: Tensor) -> Tensor:
        if not self.align_corners:
            return functional.interpolate(scores, size=grid.shape[2:], mode="bilinear", align_corners=False)
        return self._placed(factor, scores, grid.shape[2], grid.shape[3], STRIDE, self.offset)

    @property
    def strides(self) -> tuple[int, ...]:
        """Those of what `all_scores` gives."""
        return (1, *map(_stride, self.factors)) if len(self.factors) > 1 else (1,)

    def _at_stride(self, factor: Fraction, scores: Tensor, made: Made, image: Tensor) -> Tensor:
        stride = _stride(factor)
        rows, columns = ((length - 1) // stride + 1 for length in image.shape[2:])
        if not self.align_corners and factor.numerator != 1:
            scores = self._on_grid(factor, scores, dict(made)[Fraction(1)])
        if self.align_corners and (self.offset or factor.numerator != 1):
            return self._placed(factor, scores, rows, columns, stride, 0.0)
        return scores[:, :, :rows, :columns]

    def _placed(self, factor: Fraction, scores: Tensor, rows: int, columns: int, stride: int, first: float) -> Tensor:
        """A scale's scores at pixels `first`, `first` + `stride` … of the image."""
        dtype = torch.promote_types(scores.dtype, torch.float32)  # half types hold no large positions
        pixels = (torch.arange(count, dtype=dtype, device=scores.device) * stride + first for count in (rows, columns))
        return bilinear(scores, *((pixel * float(factor) - self.offset) / STRIDE for pixel in pixels))

    def _enlarged(self, scores: Tensor, image: Tensor) -> Tensor:
        height, width = image.shape[2:]
        if not self.align_corners:
            scores = functional.interpolate(
                scores, size=self._at_least(image).shape[2:], mode="bilinear", align_corners=False
            )
        elif self.offset:
            # Without corners aligned, feature i of an enlargement by 8 lies at 8 i + 3 ½.
            size = [length * STRIDE for length in scores.shape[2:]]
            scores = functional.interpolate(scores, size=size, mode="bilinear", align_corners=False)[:, :, 3:, 3:]
        else:
            size = [(length - 1) * STRIDE + 1 for length in scores.shape[2:]]
            scores = functional.interpolate(scores, size=size, mode="bilinear", align_corners=True)
        return scores[:, :, :height, :width].contiguous()


def _stride(factor: Fraction) -> int:
    """That of a scale's own scores."""
    return STRIDE * factor.denominator if factor.numerator == 1 else STRIDE


class Scaled(nn.Module):
    """Image (B, C, H, W) → scores (B, K, H, W): the largest of several scales, each made by `_coarse` on a `trunk`.

    A score that `_coarse` makes sees no pixel further than `coarse` from its own.
    """

    margin = 0

    def __init__(self, num_classes: int, trunk: VGG | ResNet, scales: Scales, coarse: int) -> None:
        super().__init__()
        check(num_classes >= 1, f"num_classes: wanted at least 1, received {num_classes}")
        self.num_classes, self.in_channels = num_classes, trunk.in_channels
        self.trunk = trunk
        self._scales = scales
        self.stride, self.reach = scales.stride, scales.reach(coarse)

    def forward(self, image: Tensor) -> Tensor:  # (B, C, H, W) -> (B, K, H, W)
        check_map("image", image, self.in_channels)
        return self._scales.scores(image, self._coarse)

    @property
    def all_strides(self) -> tuple[int, ...]:
        """The strides of what `all_scores` gives."""
        return self._scales.strides

    def all_scores(self, image: Tensor) -> tuple[Tensor, ...]:
        """The scores, then of several scales each one's: `Scales.all_scores`."""
        check_map("image", image, self.in_channels)
        return self._scales.all_scores(image, self._coarse)

    @property
    def own_strides(self) -> tuple[int, ...]:
        """The strides of what `own_scores` gives."""
        return STRIDE, *self.all_strides[1:]

    def own_scores(self, image: Tensor) -> tuple[Tensor, ...]:
        """The scores before they are enlarged, then each scale's: `Scales.own_scores`."""
        check_map("image", image, self.in_channels)
        return self._scales.own_scores(image, self._coarse)

    def _coarse(self, image: Tensor) -> Tensor:  # (B, C, H, W) -> (B, K, h, w)
        raise NotImplementedError
