"""The label values of a mask, just as its file holds them, whatever Pillow makes of them for looking at."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from densefield.checks import InputError, check
from densefield.classes import ClassList, Colour
from densefield.images.decoding import Decoded, Numbers

Labels = npt.NDArray[np.integer]


def label_values(found: Decoded, classes: ClassList | None) -> Labels:  # (H, W)
    """The values of a grey or palette mask; a colour mask is translated by the colours of `classes`.

    A palette whose colours are those of `classes` at other places is read by colour, as optimizers reorder palettes.
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
        f"{name}: mask of mode {picture.mode}; save it as 8-bit palette or grey PNG",
    )
    return _of_colours(np.asarray(picture.convert("RGB")), classes, name)


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
    check(numbers.dtype.kind in "bui", f"{name}: mask of {what}; save it as 8-bit palette or grey PNG")
    numbers = numbers.astype(np.uint8) if numbers.dtype.kind == "b" else numbers
    if count == 1:
        return np.array(numbers[:, :, 0])
    colours = numbers[:, :, :3]
    if count in (3, 4) and numbers.dtype == np.uint8:
        return _of_colours(colours, classes, name)
    grey = count in (3, 4) and bool((colours == colours[:, :, :1]).all())
    check(grey, f"{name}: mask of {what}; save it as 8-bit palette or grey PNG")
    return np.array(numbers[:, :, 0])


def _of_colours(image: npt.NDArray[np.uint8], classes: ClassList | None, name: str) -> Labels:
    """The label values of a colour mask (H, W, 3): those of its colours; or its greys, where they are no colours."""
    wide = image.astype(np.int64)
    codes = (wide[..., 0] << 16) | (wide[..., 1] << 8) | wide[..., 2]
    found, places = np.unique(codes, return_inverse=True)
    colours = [(code >> 16, (code >> 8) & 255, code & 255) for code in found.tolist()]
    table = _table(classes)
    unknown = next((colour for colour in colours if colour not in table), None)
    if unknown is None:
        values = np.array([table[colour] for colour in colours], np.uint8)
        return np.asarray(values[places].reshape(codes.shape))
    if all(red == green == blue for red, green, blue in colours):
        return np.array(image[..., 0])
    check(classes is not None, f"{name}: a colour mask; give the class list that says which colour is which class")
    many = f" and {sum(colour not in table for colour in colours) - 1} others" if len(colours) > len(table) + 8 else ""
    hint = "; so many look like soft edges: save each pixel in one class's colour" if many else ""
    raise InputError(f"{name}: holds the colour {list(unknown)}{many}, which the class list does not name{hint}")


def _of_palette(values: Labels, picture: Image.Image, classes: ClassList, name: str) -> Labels:
    """The values, or what the palette's colours stand for where they are the class list's at other places."""
    flat = picture.getpalette("RGB") or []
    palette = [(flat[at], flat[at + 1], flat[at + 2]) for at in range(0, len(flat) - 2, 3)]
    table = _table(classes)
    used = [(value, palette[value]) for value in np.unique(values).tolist() if value < len(palette)]
    moved = [(value, colour) for value, colour in used if table.get(colour, value) != value]
    named = [colour for _, colour in used if colour in table]
    if not moved:
        return values
    if len(named) == len(used) and any(colour in classes.colours for colour in named):
        by_colour = np.zeros(256, np.uint8)
        for value, colour in used:
            by_colour[value] = table[colour]
        return np.asarray(by_colour[values])
    at_fault = next(((value, colour) for value, colour in moved if colour in classes.colours), moved[0])
    doubt = any(colour in classes.colours for _, colour in moved) or len(named) == len(used)
    check(
        not doubt,
        f"{name}: its palette shows the value {at_fault[0]} in {list(at_fault[1])}, which the class list gives to"
        f" {table[at_fault[1]]}, and not all its colours are classes'; save it as grey PNG, or coloured by the list",
    )
    return values


def _table(classes: ClassList | None) -> dict[Colour, int]:
    """The label value of each colour."""
    if classes is None:
        return {}
    table = dict(zip(classes.colours, classes.values, strict=True))
    table.update(dict.fromkeys(classes.ignore_colours, classes.ignore_index))
    return table
