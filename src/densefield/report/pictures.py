"""Pictures inside a page: shrunk, compressed and written as data addresses."""

from __future__ import annotations

import base64
import io
from html import escape

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from densefield.draw import Picture

LONGEST_SIDE = 640  # as large as a card shows it on a sharp screen
SMALL = 240  # below this, pixels are enlarged as squares instead of a blur


def shrunk_image(image: Picture, longest: int = LONGEST_SIDE) -> Picture:
    """The image with its longer side at most `longest`; shrink before drawing, so that lines keep their width."""
    height, width = shrunk_size(image.shape[:2], longest)
    if (height, width) == image.shape[:2]:
        return image
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS))


def shrunk_labels(labels: NDArray[np.uint8], longest: int = LONGEST_SIDE) -> NDArray[np.uint8]:
    """Labels (H, W) of the size of `shrunk_image`: each the label at its place, none between two."""
    height, width = shrunk_size(labels.shape, longest)
    rows = (np.arange(height) * labels.shape[0] + labels.shape[0] // 2) // height
    columns = (np.arange(width) * labels.shape[1] + labels.shape[1] // 2) // width
    shrunk: NDArray[np.uint8] = labels[rows[:, None], columns]
    return shrunk


def shrunk_size(size: tuple[int, ...], longest: int) -> tuple[int, int]:
    """(height, width) with the longer side at most `longest`."""
    height, width = size
    shrink = min(1.0, longest / max(height, width))
    return max(1, round(height * shrink)), max(1, round(width * shrink))


def picture_element(pixels: Picture, description: str, *, photograph: bool = True) -> str:
    """An <img> holding the picture: JPEG for photographs, PNG for flat colours. `description` is plain text."""
    held = io.BytesIO()
    if photograph:
        # Thin coloured lines smear when colour is stored at half the size.
        Image.fromarray(pixels).save(held, "JPEG", quality=88, subsampling=0)
    else:
        Image.fromarray(pixels).quantize(256, dither=Image.Dither.NONE).save(held, "PNG", optimize=True)
    kind = "jpeg" if photograph else "png"
    data = base64.b64encode(held.getvalue()).decode("ascii")
    height, width = pixels.shape[:2]
    crisp = ' class="small"' if max(height, width) < SMALL else ""
    return (
        f'<img{crisp} src="data:image/{kind};base64,{data}" alt="{escape(description, quote=True)}"'
        f' width="{width}" height="{height}" loading="lazy">'
    )
