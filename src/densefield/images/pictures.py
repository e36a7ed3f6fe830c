"""Pictures and label masks, from file to array and back; every file that cannot be used is named in one clear line."""

from __future__ import annotations

import os
import struct
import zlib

import numpy as np
import numpy.typing as npt
from PIL import Image

from densefield.checks import check
from densefield.classes import ClassList
from densefield.files import atomic_write
from densefield.images.bands import AS_DECLARED, Pixels, Reading, rgb
from densefield.images.decoding import Source, decoded
from densefield.images.label_values import label_values


def read_image(source: Source, reading: Reading = AS_DECLARED) -> Pixels:  # (H, W, 3)
    """Read any picture that Pillow knows, or a TIFF of any type, as RGB, 8 bits a channel, upright (EXIF applied).

    Grey and palette pictures become RGB, transparency is laid on white. Of several frames or pages the first is read,
    or the one that a `Picture` names. Unsigned integers are divided by the greatest value of their declared depth,
    floats in [0, 1] multiplied by 255; for other types, and for more bands than red, green and blue, `reading` says
    which values and bands are meant (docs/data.md).
    Raises `InputError` for a missing, unreadable, truncated or gigantic (over 170 million pixels) file, and for one
    that needs a `reading`.
    """
    with decoded(source) as found:
        return rgb(found, reading)


def read_labels(source: Source, classes: ClassList | None = None) -> npt.NDArray[np.integer]:  # (H, W)
    """Read a mask's label values just as the file holds them: palettes are never expanded, nothing is rescaled.

    A color mask is translated by the colors of `classes` to their `values` (`ignore_colors` to `ignore_index`), and
    so is a palette that holds them at other places. Raises `InputError` like `read_image`, and for lossy masks, color
    masks without `classes` and unknown colors.
    """
    with decoded(source) as found:
        return label_values(found, classes)


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
    """Write class indices as a PNG whose pixels are the classes' `values` and whose palette shows their colors.

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


def write_labels_like(
    path: str | os.PathLike[str],
    labels: Pixels,  # (H, W)
    mask: Source,
) -> None:
    """Write label values as a PNG of the kind of `mask`: with its palette, gray of as many bits, or black and white."""
    with decoded(mask) as found:
        palette = found.picture.getpalette() if found.picture is not None and found.picture.mode == "P" else None
        bits = found.bits if found.picture is not None and found.picture.mode in ("1", "L") else 8
    picture = Image.fromarray(labels)
    if palette is not None:
        picture.putpalette(palette)
    few = palette is None and bits in (1, 2, 4) and int(labels.max()) < 2**bits
    with atomic_write(path) as file:
        if few:
            file.write(_few_bits(labels, bits))
        else:
            picture.save(file, format="PNG")


def _few_bits(labels: Pixels, bits: int) -> bytes:
    """A gray PNG of 1, 2 or 4 bits a pixel (ISO 15948, sections 7.2 and 11.2), which Pillow does not write."""
    height, width = labels.shape
    each = 8 // bits
    padded = np.zeros((height, -(-width // each), each), np.uint8)
    padded.reshape(height, -1)[:, :width] = labels
    shifts = np.arange(8 - bits, -1, -bits, dtype=np.uint8)
    rows = np.bitwise_or.reduce(padded << shifts, axis=2).astype(np.uint8)
    lines = np.concatenate([np.zeros((height, 1), np.uint8), rows], axis=1)  # filter 0 before each row

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(lines.tobytes())) + chunk(b"IEND", b"")
