"""Pictures inside a page: brought to a fitting size, compressed and written as data addresses."""

from __future__ import annotations

import base64
import io
from html import escape

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from densefield.draw import Picture

LONGEST_SIDE = 640  # as large as a card shows it on a sharp screen
SMALL_SIDE = 320  # smaller pictures are enlarged, so that lines drawn on them are thinner than their pixels


def fitted_size(size: tuple[int, ...]) -> tuple[int, int]:
    """(height, width) shrunk to `LONGEST_SIDE`, or enlarged a whole number of times to at most `SMALL_SIDE`."""
    height, width = size
    longest = max(height, width)
    factor = max(1, SMALL_SIDE // longest) if longest <= LONGEST_SIDE else LONGEST_SIDE / longest
    return max(1, round(height * factor)), max(1, round(width * factor))


def fitted_image(image: Picture) -> Picture:
    """The image in its fitted size; fit first and draw then, so that lines keep their width."""
    height, width = fitted_size(image.shape[:2])
    if (height, width) == image.shape[:2]:
        return image
    how = Image.Resampling.LANCZOS if height < image.shape[0] or width < image.shape[1] else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(image).resize((width, height), how))


def fitted_labels(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Labels (H, W) in the size of `fitted_image`: each the label at its place, none between two."""
    height, width = fitted_size(labels.shape)
    rows = (np.arange(height) * labels.shape[0] + labels.shape[0] // 2) // height
    columns = (np.arange(width) * labels.shape[1] + labels.shape[1] // 2) // width
    fitted: NDArray[np.uint8] = labels[rows[:, None], columns]
    return fitted


def picture_element(pixels: Picture, description: str, *, photograph: bool = True) -> str:
    """An <img> holding the picture: JPEG for photographs, PNG for flat colors. `description` is plain text."""
    held = io.BytesIO()
    if photograph:
        # Thin colored lines smear when color is stored at half the size.
        Image.fromarray(pixels).save(held, "JPEG", quality=88, subsampling=0)
    else:
        Image.fromarray(pixels).quantize(256, dither=Image.Dither.NONE).save(held, "PNG", optimize=True)
    kind = "jpeg" if photograph else "png"
    data = base64.b64encode(held.getvalue()).decode("ascii")
    height, width = pixels.shape[:2]
    return (
        f'<img src="data:image/{kind};base64,{data}" alt="{escape(description, quote=True)}"'
        f' width="{width}" height="{height}" loading="lazy">'
    )
