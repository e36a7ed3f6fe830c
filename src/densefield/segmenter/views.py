"""An image seen at several sizes, and mirrored: the mean of what the network then says.

Chen, Papandreou, Kokkinos, Murphy, Yuille, "DeepLab", PAMI 2017, section 4.1, sees an image at several sizes; the mean
of softmaxes over sizes and mirror images is how figures "with multi-scale testing" are made (Zhao et al., PSPNet, CVPR
2017, section 4.2).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from densefield.checks import InputError, check


class Views(NamedTuple):
    """The factors by which an image is resized, and whether each size is also seen mirrored, left for right."""

    scales: tuple[float, ...] = (1.0,)
    flip: bool = False

    @classmethod
    def of_words(cls, scales: str | None, flip: bool) -> Views:
        """`scales` as a flag has them, "0.75,1,1.25"; raises `InputError` for what is no number from 0.05 to 20."""
        if scales is None:
            return cls(flip=flip)
        wanted = f"--scales: wanted numbers from 0.05 to 20, such as 0.75,1,1.25; received {scales!r}"
        try:
            factors = tuple(float(word) for word in scales.split(","))
        except ValueError as error:
            raise InputError(wanted) from error
        check(all(0.05 <= factor <= 20 for factor in factors), wanted)
        check(len(set(factors)) == len(factors), f"--scales: wanted each number once, received {scales!r}")
        return cls(factors, flip)


def mean_scores(
    pixels: Tensor,  # (B, C, H, W), uint8 or in [0, 1]
    views: Views,
    scores: Callable[[Tensor], Tensor],  # of pixels of any size, (B, C, h, w) -> (B, K, h, w)
) -> Tensor:
    """Scores (B, K, H, W): the logarithm of the mean over all `views` of softmax(scores), each enlarged bilinearly."""
    size = tuple(pixels.shape[2:])
    total: Tensor | None = None
    for factor in views.scales:
        seen = pixels if factor == 1 else _resized(pixels, factor)
        for mirrored in (False, True) if views.flip else (False,):
            found = scores(seen.flip(3)).flip(3) if mirrored else scores(seen)
            if tuple(found.shape[2:]) != size:
                found = functional.interpolate(found, size=size, mode="bilinear", align_corners=False)
            chances = found.to(torch.promote_types(found.dtype, torch.float32)).log_softmax(
                dim=1
            )  # summed as logarithms, so that none becomes 0
            total = chances if total is None else torch.logaddexp(total, chances)
    assert total is not None
    return total.log_softmax(dim=1)  # which divides by how many there are


def _resized(pixels: Tensor, factor: float) -> Tensor:
    values = pixels.float() / 255 if pixels.dtype == torch.uint8 else pixels
    size = [max(1, round(factor * side)) for side in pixels.shape[2:]]
    return functional.interpolate(values, size=size, mode="bilinear", align_corners=False)
