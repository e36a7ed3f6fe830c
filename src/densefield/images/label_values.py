"""The label values of a mask, just as its file holds them, whatever Pillow makes of them for looking at."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from densefield.checks import InputError, check
from densefield.classes import ClassList, Color
from densefield.images.decoding import Decoded, Numbers

Labels = npt.NDArray[np.integer]


def label_values(found: Decoded, classes: ClassList | None) -> Labels:  # (H, W)
    """The values of a gray or palette mask; a color mask is translated by the colors of `classes`.

    A palette whose colors are those of `classes` at other places is read by color, as optimizers reorder palettes.
    """
    name, picture = found.name, found.picture
    check(
        not found.lossy,
        f"{name}: a JPEG changes label values; save masks as PNG"
        if found.format in ("JPEG", "MPO")
        else f"{name}: lossy compression changes label values; save masks as PNG",
    )
    if found.numbers is not None:
        return _of_numbers(found.numbers, classes, name)
    assert picture is not None
    if picture.mode in ("P", "PA"):
        values = np.array(picture.getchannel(0) if picture.mode == "PA" else picture)
        return values if classes is None else _of_palette(values, picture, classes, name)
    if picture.mode in ("1", "L", "LA"):
        return _undone(np.array(picture.getchannel(0) if picture.mode == "LA" else picture), found)
    if picture.mode == "I" or picture.mode.startswith("I;16"):
        wide = np.array(picture)
        return wide if found.maximum is None else np.rint(wide * (found.maximum / 65535)).astype(np.int64)
    check(
        picture.mode in ("RGB", "RGBA"),
        f"{name}: mask of mode {picture.mode}; save it as 8-bit palette or gray PNG",
    )
    return _of_colors(np.asarray(picture.convert("RGB")), classes, name)


def _undone(values: Numbers, found: Decoded) -> Labels:
    """Grey values of up to 8 bits as the file holds them: Pillow stretches few bits, and turns 0 = white over."""
    if values.dtype == np.bool_:
        values = values.astype(np.uint8)
    elif found.maximum is not None:
        return np.rint(values * (found.maximum / 255)).astype(np.uint8)
    elif found.bits < 8:
        values = values // (255 // (2**found.bits - 1))
    if found.white_is_zero:
        values = (2**found.bits - 1) - values
    return np.asarray(values.view(np.int8) if found.signed else values)


def _of_numbers(numbers: Numbers, classes: ClassList | None, name: str) -> Labels:
    count = numbers.shape[2]
    what = f"{count} bands of {numbers.dtype}" if count > 1 else str(numbers.dtype)
    check(numbers.dtype.kind in "bui", f"{name}: mask of {what}; save it as 8-bit palette or gray PNG")
    numbers = numbers.astype(np.uint8) if numbers.dtype.kind == "b" else numbers
    if count == 1:
        return np.array(numbers[:, :, 0])
    colors = numbers[:, :, :3]
    if count in (3, 4) and numbers.dtype == np.uint8:
        return _of_colors(colors, classes, name)
    gray = count in (3, 4) and bool((colors == colors[:, :, :1]).all())
    check(gray, f"{name}: mask of {what}; save it as 8-bit palette or gray PNG")
    return np.array(numbers[:, :, 0])


def _of_colors(image: npt.NDArray[np.uint8], classes: ClassList | None, name: str) -> Labels:
    """The label values of a color mask (H, W, 3): those of its colors; or its greys, where they are no colors."""
    wide = image.astype(np.int64)
    codes = (wide[..., 0] << 16) | (wide[..., 1] << 8) | wide[..., 2]
    found, places = np.unique(codes, return_inverse=True)
    colors = [(code >> 16, (code >> 8) & 255, code & 255) for code in found.tolist()]
    table = _table(classes)
    unknown = next((color for color in colors if color not in table), None)
    if unknown is None:
        values = np.array([table[color] for color in colors], np.uint8)
        return np.asarray(values[places].reshape(codes.shape))
    if all(red == green == blue for red, green, blue in colors):
        return np.array(image[..., 0])
    check(classes is not None, f"{name}: a color mask; give the class list that says which color is which class")
    many = f" and {sum(color not in table for color in colors) - 1} others" if len(colors) > len(table) + 8 else ""
    hint = "; so many look like soft edges: save each pixel in one class's color" if many else ""
    raise InputError(f"{name}: holds the color {list(unknown)}{many}, which the class list does not name{hint}")


def _of_palette(values: Labels, picture: Image.Image, classes: ClassList, name: str) -> Labels:
    """The values, or what the palette's colors stand for where they are the class list's at other places."""
    flat = picture.getpalette("RGB") or []
    palette = [(flat[at], flat[at + 1], flat[at + 2]) for at in range(0, len(flat) - 2, 3)]
    table = _table(classes)
    used = [(value, palette[value]) for value in np.unique(values).tolist() if value < len(palette)]
    moved = [(value, color) for value, color in used if table.get(color, value) != value]
    named = [color for _, color in used if color in table]
    if not moved:
        return values
    if len(named) == len(used) and any(color in classes.colors for color in named):
        by_color = np.zeros(256, np.uint8)
        for value, color in used:
            by_color[value] = table[color]
        return np.asarray(by_color[values])
    at_fault = next(((value, color) for value, color in moved if color in classes.colors), moved[0])
    doubt = any(color in classes.colors for _, color in moved) or len(named) == len(used)
    check(
        not doubt,
        f"{name}: its palette shows the value {at_fault[0]} in {list(at_fault[1])}, which the class list gives to"
        f" {table[at_fault[1]]}, and not all its colors are classes'; save it as gray PNG, or colored by the list",
    )
    return values


def _table(classes: ClassList | None) -> dict[Color, int]:
    """The label value of each color."""
    if classes is None:
        return {}
    table = dict(zip(classes.colors, classes.values, strict=True))
    table.update(dict.fromkeys(classes.ignore_colors, classes.ignore_index))
    return table
