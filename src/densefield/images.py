"""Pictures and label masks, from file to array and back; every file that cannot be used is named in one clear line."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from densefield.checks import InputError, check
from densefield.classes import ClassList
from densefield.files import atomic_write
from densefield.listing import Picture

Pixels = npt.NDArray[np.uint8]
Source = str | os.PathLike[str] | BinaryIO | Picture

MOST_PIXELS = 170_000_000  # just under the limit at which Pillow refuses to open a file at all

_ALPHA = ("RGBA", "LA", "PA", "La", "RGBa")
_DEPTHS = (8, 10, 12, 14, 16, 24, 32)  # what cameras and microscopes deliver inside wider integers


def read_image(source: Source) -> Pixels:  # (H, W, 3)
    """Read any picture that Pillow knows as RGB, 8 bits a channel, upright (EXIF rotation applied).

    Grey and palette pictures become RGB, transparency is laid on white. Of several frames or pages the first is read,
    or the one that a `Picture` names. Grey
    values wider than 8 bits are divided by the full range of the narrowest of 8, 10, 12, 14, 16 … bits that holds the
    picture's brightest pixel (12-bit data in a 16-bit TIFF come out as bright as they are); floating-point pictures
    within [0, 1] are multiplied by 255, others stretched from their least to their greatest value.
    Raises `InputError` for a missing, unreadable, truncated or gigantic (over 170 million pixels) file.
    """
    with _opened(source) as (picture, name, _):
        if picture.mode.startswith("I") or picture.mode == "F":
            grey = _to_8_bits(np.asarray(picture), name)
            return np.repeat(grey[:, :, None], 3, axis=2)
        if picture.mode in _ALPHA or "transparency" in picture.info:
            upper = picture.convert("RGBA")
            picture = Image.alpha_composite(Image.new("RGBA", upper.size, "white"), upper)
        return np.array(picture.convert("RGB"))


def read_labels(source: Source, classes: ClassList | None = None) -> npt.NDArray[np.integer]:  # (H, W)
    """Read a mask's label values just as the file holds them: palettes are never expanded, nothing is rescaled.

    A colour mask is translated by the colours of `classes` to their `values` (`ignore_colours` to `ignore_index`).
    Raises `InputError` like `read_image`, and for JPEG masks, colour masks without `classes` and unknown colours.
    """
    with _opened(source) as (picture, name, step):
        check(picture.format != "JPEG", f"{name}: a JPEG changes label values; save masks as PNG")
        if picture.mode in ("L", "P", "1", "I") or picture.mode.startswith("I;16"):
            labels = np.array(picture)
            if labels.dtype == np.bool_:
                labels = labels.astype(np.uint8)
            return labels // step
        if picture.mode in ("LA", "PA"):
            return np.array(picture.getchannel(0))
        check(
            picture.mode in ("RGB", "RGBA"),
            f"{name}: mask of mode {picture.mode}; save it as 8-bit palette or grey PNG",
        )
        check(classes is not None, f"{name}: a colour mask; give the class list that says which colour is which class")
        assert classes is not None
        return _labels_of_colours(np.asarray(picture.convert("RGB")), classes, name)


def write_image(
    path: str | os.PathLike[str],
    image: Pixels,  # (H, W, 3)
) -> None:
    """Write an RGB picture as PNG, whole or not at all."""
    image = np.asarray(image)
    right = image.ndim == 3 and image.shape[2] == 3 and image.dtype == np.uint8 and image.size > 0
    check(right, f"image: wanted uint8 (H, W, 3), received {image.dtype} {image.shape}")
    with atomic_write(path) as file:
        Image.fromarray(image).save(file, format="PNG")


def write_labels(
    path: str | os.PathLike[str],
    labels: npt.NDArray[np.integer],  # (H, W)
    classes: ClassList,
) -> None:
    """Write class indices as a PNG whose pixels are the classes' `values` and whose palette shows their colours.

    What is no class is written as it is (255 as `ignore_index` where a class has the value 255).
    """
    labels = np.asarray(labels)
    right = labels.ndim == 2 and np.issubdtype(labels.dtype, np.integer) and labels.size > 0
    check(right, f"labels: wanted whole numbers (H, W), received {labels.dtype} {labels.shape}")
    least, most = int(labels.min()), int(labels.max())
    check(least >= 0 and most <= 255, f"labels: wanted values from 0 to 255, received {least} to {most}")
    values = classes.file_values()
    palette = np.zeros((256, 3), np.uint8)
    palette[values[::-1]] = classes.palette()[::-1]  # where two write the same value, the class comes last
    picture = Image.fromarray(values[labels.astype(np.uint8)]).convert("L")
    picture.putpalette(palette.tobytes())
    with atomic_write(path) as file:
        picture.save(file, format="PNG")


def upright(picture: Image.Image) -> Image.Image:
    """A copy turned as its EXIF entry says; a broken entry is common, and says nothing about the pixels."""
    with contextlib.suppress(Exception):
        return ImageOps.exif_transpose(picture)
    return picture.copy()


@contextlib.contextmanager
def _opened(source: Source) -> Iterator[tuple[Image.Image, str, int]]:
    """The decoded, upright picture, its name for messages, its `_grey_step`; every failure ends as an `InputError`."""
    page = source.page if isinstance(source, Picture) else None
    place = source.path if isinstance(source, Picture) else source
    is_path = isinstance(place, (str, os.PathLike))
    name = str(getattr(place, "name", "image")) if not isinstance(place, (str, os.PathLike)) else str(Path(place))
    name = name if page is None else str(source)
    try:
        with contextlib.ExitStack() as stack:
            # Given a path, Pillow maps grey TIFF files into memory with the sides of the turned picture: scrambled.
            file = place if not isinstance(place, (str, os.PathLike)) else stack.enter_context(open(place, "rb"))
            stack.enter_context(warnings.catch_warnings())
            # Pillow warns of big pictures, odd EXIF and palettes; too big is judged here, the rest harms nobody.
            warnings.simplefilter("ignore")
            picture = stack.enter_context(Image.open(file))
            if page is not None:
                picture.seek(page - 1)
            width, height = picture.size
            if width * height > MOST_PIXELS:
                raise Image.DecompressionBombError
            step = _grey_step(picture)
            picture.load()
            turned = upright(picture)
            turned.format = picture.format
        yield turned, name, step
    except InputError:
        raise
    except Image.DecompressionBombError as error:
        raise InputError(
            f"{name}: claims more than {MOST_PIXELS // 1_000_000} million pixels; refused, cut it into smaller pictures"
        ) from error
    except MemoryError as error:
        raise InputError(f"{name}: too large for this machine's memory; cut it into smaller pictures") from error
    except FileNotFoundError as error:
        raise InputError(f"{name}: no such file; check the path") from error
    except Exception as error:  # decoders raise whatever they stumble over: SyntaxError, struct.error, ...
        if is_path and isinstance(error, OSError) and error.strerror and error.errno is not None:
            raise InputError(
                f"{name}: cannot be read ({error.strerror}); check the path and its permissions"
            ) from error
        reason = " ".join(str(error).split())[:120] or type(error).__name__
        if isinstance(error, UnidentifiedImageError):
            reason = "no picture format that Pillow knows"
        raise InputError(f"{name}: not a whole picture ({reason}); replace or remove the file") from error


def _grey_step(picture: Image.Image) -> int:
    """How far apart Pillow puts neighbouring grey values of a 2- or 4-bit file, which it stretches to 8 bits."""
    tiles = getattr(picture, "tile", None) or [None]
    mode = getattr(tiles[0], "args", None)
    mode = mode[0] if isinstance(mode, tuple) and mode else mode
    return {"L;2": 85, "L;4": 17}.get(mode, 1) if picture.mode == "L" and isinstance(mode, str) else 1


def _to_8_bits(values: npt.NDArray[np.generic], name: str) -> Pixels:
    """Grey values of any width as uint8, by the rule that `read_image` states."""
    wide = values.astype(np.float64)
    check(bool(np.isfinite(wide).all()), f"{name}: holds NaN or Inf values; wanted finite numbers only")
    least, most = float(wide.min()), float(wide.max())
    if np.issubdtype(values.dtype, np.floating) and least >= 0.0 and most <= 1.0:
        low, high = 0.0, 1.0
    elif np.issubdtype(values.dtype, np.floating) or least < 0:
        low, high = least, most
    else:
        low, high = 0.0, float(2 ** next(bits for bits in _DEPTHS if most < 2**bits) - 1)
    scaled = (wide - low) * (255.0 / (high - low)) if high > low else np.zeros_like(wide)
    return np.rint(scaled).astype(np.uint8)


def _labels_of_colours(image: Pixels, classes: ClassList, name: str) -> Pixels:
    """The label values (H, W) of a colour mask (H, W, 3)."""
    table = dict(zip(classes.colours, classes.values, strict=True))
    table.update(dict.fromkeys(classes.ignore_colours, classes.ignore_index))
    wide = image.astype(np.int64)
    codes = (wide[..., 0] << 16) | (wide[..., 1] << 8) | wide[..., 2]
    found, places = np.unique(codes, return_inverse=True)
    labels = np.zeros(len(found), np.uint8)
    for place, code in enumerate(found.tolist()):
        colour = (code >> 16, (code >> 8) & 255, code & 255)
        check(colour in table, f"{name}: holds the colour {list(colour)}, which the class list does not name")
        labels[place] = table[colour]
    return labels[places].reshape(codes.shape)
