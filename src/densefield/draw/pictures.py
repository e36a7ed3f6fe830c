"""Pictures of labels, errors and scores, and sheets of them: uint8 RGB arrays (H, W, 3) in and out."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageDraw, ImageFont

from densefield.checks import check
from densefield.classes import ClassList, Color

Picture = NDArray[np.uint8]  # (H, W, 3)

RIGHT: Color = (255, 255, 255)
WRONG: Color = (214, 39, 40)
UNCOUNTED: Color = (200, 200, 200)

# Dark violet to yellow, even in lightness, so that it reads in grey and for the color-blind.
RAMP = np.array(
    [(38, 18, 74), (64, 58, 130), (49, 98, 141), (34, 136, 138), (54, 172, 116), (136, 202, 66), (250, 226, 42)],
    np.float64,
)


def paint_labels(labels: ArrayLike, classes: ClassList) -> Picture:
    """The class colors of labels (H, W): see `ClassList.palette` for values that are no class."""
    painted: Picture = classes.palette()[_label_map("labels", labels)]
    return painted


def boundaries(labels: ArrayLike) -> NDArray[np.bool_]:
    """Which pixels (H, W) differ from their right or lower neighbour: lines one pixel wide."""
    values = _label_map("labels", labels)
    lines = np.zeros(values.shape, bool)
    lines[:, :-1] |= values[:, :-1] != values[:, 1:]
    lines[:-1] |= values[:-1] != values[1:]
    return lines


def overlay(
    image: Picture,  # (H, W, 3)
    labels: ArrayLike,  # (H, W)
    classes: ClassList,
    *,
    alpha: float = 0.5,
    line: Color | None = (255, 255, 255),
) -> Picture:
    """Class colors over the image with opacity `alpha`, and lines of color `line` (or none) where classes meet.

    The image stays as it is where the label is no class (`ignore_index`). Raises `InputError` for sizes that differ.
    """
    image = checked_picture("image", image)
    values = _label_map("labels", labels)
    check(
        image.shape[:2] == values.shape, f"labels: wanted the image's size {image.shape[:2]}, received {values.shape}"
    )
    check(0 <= alpha <= 1, f"alpha: wanted 0 to 1, received {alpha}")
    mixed = (1 - alpha) * image + alpha * classes.palette()[values]
    drawn: Picture = np.where((values < len(classes))[..., None], np.rint(mixed), image).astype(np.uint8)
    if line is not None:
        drawn[boundaries(values)] = line
    return drawn


def error_map(labels: ArrayLike, target: ArrayLike, *, ignore_index: int = 255) -> Picture:
    """White where labels (H, W) equal the target, red where they differ, grey where the target is ignored."""
    values, truth = _label_map("labels", labels), _label_map("target", target)
    check(values.shape == truth.shape, f"labels: wanted the target's size {truth.shape}, received {values.shape}")
    drawn: Picture = np.where((values == truth)[..., None], np.array(RIGHT, np.uint8), np.array(WRONG, np.uint8))
    drawn[truth == ignore_index] = UNCOUNTED
    return drawn


def score_map(values: ArrayLike, *, low: float | None = None, high: float | None = None) -> Picture:
    """One score or marginal per pixel (H, W) as a color from violet (`low`) to yellow (`high`); grey where not finite.

    `low` and `high` are the smallest and largest finite value by default: give them to compare maps.
    """
    numbers = np.asarray(values, np.float64)
    check(numbers.ndim == 2, f"values: wanted shape (H, W), received {numbers.shape}")
    finite = np.isfinite(numbers)
    known = numbers[finite] if finite.any() else np.zeros(1)
    low = float(known.min()) if low is None else low
    high = float(known.max()) if high is None else high
    check(low <= high, f"low: wanted at most high = {high}, received {low}")
    place = np.clip((np.where(finite, numbers, low) - low) / ((high - low) or 1.0), 0, 1) * (len(RAMP) - 1)
    left = np.minimum(place.astype(np.intp), len(RAMP) - 2)
    part = (place - left)[..., None]
    drawn: Picture = np.rint((1 - part) * RAMP[left] + part * RAMP[left + 1]).astype(np.uint8)
    drawn[~finite] = UNCOUNTED
    return drawn


def side_by_side(
    pictures: Sequence[Picture],
    captions: Sequence[str] = (),
    *,
    columns: int | None = None,
    gap: int = 8,
    background: Color = (255, 255, 255),
) -> Picture:
    """The pictures in rows of `columns` (default: one row), each with its caption above, on one sheet.

    Pictures keep their pixels; a smaller one stands in the upper left of its place. Captions longer than the picture
    is wide end in "…".
    """
    check(len(pictures) > 0, "pictures: received none; wanted at least one")
    check(
        not captions or len(captions) == len(pictures),
        f"captions: wanted one for each of {len(pictures)} pictures or none, received {len(captions)}",
    )
    columns = len(pictures) if columns is None else columns
    check(columns >= 1, f"columns: wanted at least 1, received {columns}")
    checked = [checked_picture(f"pictures[{i}]", picture) for i, picture in enumerate(pictures)]
    height, width = (max(picture.shape[axis] for picture in checked) for axis in (0, 1))
    size = max(11, min(22, width // 22))
    font = ImageFont.load_default(size=size)
    top = math.ceil(1.5 * size) if captions else 0
    rows = math.ceil(len(checked) / columns)
    sheet = Image.new("RGB", (columns * (width + gap) + gap, rows * (height + top + gap) + gap), background)
    pen = ImageDraw.Draw(sheet)
    ink = (24, 24, 24) if sum(background) > 382 else (235, 235, 235)
    for number, picture in enumerate(checked):
        row, column = divmod(number, columns)
        x, y = gap + column * (width + gap), gap + row * (height + top + gap)
        if captions:
            pen.text((x, y), _shortened(captions[number], width, font), fill=ink, font=font)
        sheet.paste(Image.fromarray(picture), (x, y + top))
    return np.asarray(sheet)


def _shortened(text: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """`text` on one line, cut so that it is at most `width` pixels wide."""
    text = " ".join(text.split())
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"


def _label_map(name: str, labels: ArrayLike) -> NDArray[np.integer]:
    """`labels` as an integer array (H, W) within 0 … 255, which is what a palette can color."""
    values = np.asarray(labels)
    check(values.ndim == 2, f"{name}: wanted shape (H, W), received {values.shape}")
    check(values.dtype.kind in "iub", f"{name}: wanted an array of class indices (integers), received {values.dtype}")
    if values.dtype != np.uint8 and values.size:
        low, high = int(values.min()), int(values.max())
        check(low >= 0 and high <= 255, f"{name}: wanted values from 0 to 255, received {low} to {high}")
    return values.astype(np.uint8) if values.dtype.kind == "b" else values


def checked_picture(name: str, picture: ArrayLike) -> Picture:
    """`picture` checked to be uint8 (H, W, 3)."""
    values = np.asarray(picture)
    check(
        values.ndim == 3 and values.shape[2] == 3 and values.dtype == np.uint8,
        f"{name}: wanted uint8 of shape (H, W, 3), received {values.dtype} of shape {values.shape}",
    )
    return values
