"""Scaling, rotation and free deformation as one look-up in the source image, so that pixels are resampled once."""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from densefield.checks import check
from densefield.data.sample import IGNORED
from densefield.data.transforms.compose import Labels, Pair, Pixels

_LONGEST = 32_766  # OpenCV's remap addresses sources with 16-bit integers


def warp(
    image: Pixels,  # (H, W, 3)
    target: Labels,  # (H, W)
    *,
    scale: float = 1.0,
    degrees: float = 0.0,
    displacement: npt.NDArray[np.float32] | None = None,  # (2, H', W'), along x and y, in source pixels
) -> Pair:
    """Scale by `scale` and rotate by `degrees` (counter-clockwise) about the centre, then move by `displacement`.

    The result is (H', W') = round(scale * (H, W)). Its pixel p shows the source at c + R (p - c') / scale +
    displacement, with c and c' the centres. Images are read bilinearly and mirrored beyond their border; targets take
    the nearest pixel, 255 beyond the border.
    """
    rows, columns = target.shape
    check(
        min(rows, columns) > 0 and max(rows, columns) <= _LONGEST,
        f"image: wanted sides from 1 to {_LONGEST} pixels to be warped, received {rows}x{columns}",
    )
    check(scale > 0 and math.isfinite(scale), f"scale: wanted a positive number, received {scale}")
    height, width = warped_size(rows, columns, scale)
    cosine, sine = math.cos(math.radians(degrees)) / scale, math.sin(math.radians(degrees)) / scale
    x = (np.arange(width, dtype=np.float32) - (width - 1) / 2)[None, :]
    y = (np.arange(height, dtype=np.float32) - (height - 1) / 2)[:, None]
    from_x = cosine * x - sine * y + (columns - 1) / 2
    from_y = sine * x + cosine * y + (rows - 1) / 2
    if displacement is not None:
        check(
            displacement.shape == (2, height, width),
            f"displacement: wanted shape {(2, height, width)}, received {displacement.shape}",
        )
        farthest = float(np.abs(displacement).max(initial=0.0))
        check(  # beyond, mirroring at the border takes forever
            farthest <= _LONGEST, f"displacement: wanted at most {_LONGEST} pixels, received {farthest:.3g}"
        )
        from_x, from_y = from_x + displacement[0], from_y + displacement[1]
    from_x, from_y = from_x.astype(np.float32), from_y.astype(np.float32)
    warped = cv2.remap(image, from_x, from_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    labels = cv2.remap(
        target, from_x, from_y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=(IGNORED,) * 4
    )
    return warped.astype(np.uint8, copy=False), labels.astype(target.dtype, copy=False)


def warped_size(height: int, width: int, scale: float) -> tuple[int, int]:
    """The sides of an image of `height` x `width` that is scaled by `scale`."""
    return max(1, round(scale * height)), max(1, round(scale * width))
