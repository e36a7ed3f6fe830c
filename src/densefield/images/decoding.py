"""From a file to what it holds: decoded by Pillow, or as plain numbers where Pillow would narrow or refuse them."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from densefield.checks import InputError, check, one_line
from densefield.images.listing import Picture

Source = str | os.PathLike[str] | BinaryIO | Picture
Numbers = npt.NDArray[Any]

MOST_PIXELS = 170_000_000  # just under the limit at which Pillow refuses to open a file at all
_MOST_NUMBERS = 4 * MOST_PIXELS  # pixels times bands

_WIDE_PNG = ("RGB;16B", "RGBA;16B", "LA;16B")  # Pillow keeps the upper eight bits
_TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
# TIFF tags and values: Adobe, TIFF 6.0, section 8.
_BITS, _COMPRESSION, _PHOTOMETRIC, _ORIENTATION, _SAMPLES, _EXTRA, _FORMAT = 258, 259, 262, 274, 277, 338, 339
_DEPTH = 32997  # of volumes, by SGI
_READ = (_DEPTH, _BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLES, _EXTRA, _FORMAT)
_LOSSY_COMPRESSIONS = (6, 7, 34712, 34892, 50001)  # JPEG, JPEG 2000, WebP
_SIGNED = 2


@dataclasses.dataclass(frozen=True)
class Decoded:
    """What one file holds, upright: a Pillow `picture`, or `numbers` (H, W, C) of the file's own type."""

    name: str  # for messages
    format: str = ""
    picture: Image.Image | None = None
    numbers: Numbers | None = None
    bits: int = 8  # of one value in the file
    maximum: int | None = None  # what the file says is white, where it may say so (PGM); Pillow has scaled by it
    signed: bool = False
    white_is_zero: bool = False  # Pillow has turned values of up to 8 bits over, and no others
    alpha: bool = False  # whether the last of the numbers' bands is declared to be transparency
    lossy: bool = False


@contextlib.contextmanager
def decoded(source: Source) -> Iterator[Decoded]:
    """What the file holds; of several pages the first, or the one that a `Picture` names.

    Whatever fails, in the block too, ends as an `InputError` that names the file.
    """
    page = source.page if isinstance(source, Picture) else None
    place = source.path if isinstance(source, Picture) else source
    is_path = isinstance(place, (str, os.PathLike))
    name = str(Path(place)) if isinstance(place, (str, os.PathLike)) else str(getattr(place, "name", "image"))
    name = name if page is None else str(source)
    try:
        with contextlib.ExitStack() as stack:
            # Given a path, Pillow maps gray TIFF files into memory with the sides of the turned picture: scrambled.
            file = stack.enter_context(open(place, "rb")) if isinstance(place, (str, os.PathLike)) else place
            stack.enter_context(warnings.catch_warnings())
            # Pillow warns of big pictures, odd EXIF and palettes; too big is judged here, the rest harms nobody.
            warnings.simplefilter("ignore")
            found = _read(file, name, (page or 1) - 1)
        yield found
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
        reason = one_line(error, 120)
        if isinstance(error, UnidentifiedImageError):
            reason = "no picture format that Pillow knows"
        raise InputError(f"{name}: not a whole picture ({reason}); replace or remove the file") from error


def decoded_picture(image: Image.Image) -> Decoded:
    """A Pillow image that a person hands over, upright."""
    return Decoded("image", image.format or "", _upright(image))


def _upright(picture: Image.Image) -> Image.Image:
    """A copy turned as its EXIF entry says; a broken entry is common, and says nothing about the pixels."""
    with contextlib.suppress(Exception):
        return ImageOps.exif_transpose(picture)
    return picture.copy()


def _read(file: BinaryIO, name: str, page: int) -> Decoded:
    begin = file.tell() if file.seekable() else 0
    start = file.read(34)
    file.seek(begin)
    tiff = start[:4] in _TIFF_STARTS
    try:
        picture = Image.open(file)
    except UnidentifiedImageError:
        if not tiff:
            raise
        file.seek(begin)
        return _tiff_numbers(file, name, page)
    with picture:
        if page:
            picture.seek(page)
        width, height = picture.size
        if width * height > MOST_PIXELS:
            raise Image.DecompressionBombError
        found = getattr(picture, "tag_v2", {}) if tiff else {}
        tags = {tag: found[tag] for tag in _READ if tag in found}  # gone once loaded
        if tags and _only_numbers_tell(tags):
            file.seek(begin)
            return _tiff_numbers(file, name, page)
        facts = _facts(picture, tags, start)
        wide = picture.format == "PNG" and _raw_mode(picture) in _WIDE_PNG
        picture.load()
        if wide:
            turn = 1
            with contextlib.suppress(Exception):
                turn = int(picture.getexif().get(_ORIENTATION, 1))
            file.seek(begin)
            numbers = _turned(_by_opencv(file.read()), turn)
            alpha = numbers.shape[2] == 4
            return dataclasses.replace(facts, name=name, numbers=numbers, bits=16, alpha=alpha)
        return dataclasses.replace(facts, name=name, picture=_upright(picture))


def _facts(picture: Image.Image, tags: dict[int, Any], start: bytes) -> Decoded:
    """What the file says about its numbers, as far as Pillow's picture will not."""
    raw = _raw_mode(picture)
    bits, maximum = {"1": 1, "L;2": 2, "L;4": 4}.get(raw, 8), None
    if tags:
        bits = int(_all(tags.get(_BITS, 1))[0])
    elif picture.format == "PPM":
        maximum = _ppm_maximum(picture)
    # WebP's lossless stream is named VP8L, the lossy one VP8; with transparency (VP8X, 18 bytes) ALPH stands before it.
    lossy_webp = picture.format == "WEBP" and (start[12:16] == b"VP8 " or start[30:34] in (b"VP8 ", b"ALPH"))
    return Decoded(
        name="",
        format=picture.format or "",
        bits=bits,
        maximum=maximum,
        signed=_SIGNED in _all(tags.get(_FORMAT, 1)),
        white_is_zero=bool(tags) and tags.get(_PHOTOMETRIC) == 0,
        lossy=picture.format in ("JPEG", "MPO", "AVIF") or lossy_webp or tags.get(_COMPRESSION) in _LOSSY_COMPRESSIONS,
    )


def _raw_mode(picture: Image.Image) -> str:
    """How the pixels lie in the file, in Pillow's words."""
    tiles = getattr(picture, "tile", None) or [None]
    mode = getattr(tiles[0], "args", None)
    mode = mode[0] if isinstance(mode, tuple) and mode else mode
    return mode if isinstance(mode, str) else ""


def _ppm_maximum(picture: Image.Image) -> int | None:
    tiles = getattr(picture, "tile", None) or [None]
    mode = getattr(tiles[0], "args", None)
    last = mode[-1] if isinstance(mode, tuple) and mode else None
    return last if isinstance(last, int) and 0 < last < 65536 else None


def _only_numbers_tell(tags: dict[int, Any]) -> bool:
    """Whether Pillow would narrow a TIFF's numbers, or drop bands, to make them fit one of its modes."""
    samples = int(tags.get(_SAMPLES, 1))
    if int(tags.get(_DEPTH, 1)) > 1:
        return True
    if samples == 1 or tags.get(_PHOTOMETRIC) not in (0, 1, 2):
        return False
    extra = _all(tags.get(_EXTRA, ()))
    declared = len(extra) == (samples - 3 if tags.get(_PHOTOMETRIC) == 2 else samples - 1)
    return max(_all(tags.get(_BITS, 1))) > 8 or not declared or any(kind not in (1, 2) for kind in extra)


def _all(value: Any) -> tuple[Any, ...]:
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)


def _tiff_numbers(file: BinaryIO, name: str, page: int) -> Decoded:
    """The numbers of a TIFF page of any type and number of bands."""
    import tifffile

    begin = file.tell()
    with _quiet("tifffile"), tifffile.TiffFile(file) as tiff:
        one = tiff.pages[page]
        pixels, samples = one.imagewidth * one.imagelength * one.imagedepth, int(one.samplesperpixel)
        if pixels > MOST_PIXELS:
            raise Image.DecompressionBombError
        what = f"{samples} bands of {one.dtype}" if samples > 1 else f"values of {one.dtype}"
        check(one.imagedepth == 1, f"{name}: holds volumes ({one.shape}); save a slice a page")
        check(one.dtype is not None, f"{name}: holds {what}, which cannot be read; save it with 8 or 16 bits")
        check(pixels * samples <= _MOST_NUMBERS, f"{name}: holds {what}, too many; cut it into smaller pictures")
        extra = [int(kind) for kind in one.extrasamples]
        turn = one.tags.get(_ORIENTATION)
        try:
            numbers: Numbers = one.asarray()
            if samples > 1 and one.planarconfig == 2:
                numbers = np.moveaxis(numbers, 0, -1)
        except ValueError as error:
            if "imagecodecs" not in str(error):
                raise
            packed = f"{name}: holds {what}, packed by {one.compression.name}"
            check(
                samples in (3, 4) and page == 0,
                f"{packed}, for which the package imagecodecs is wanted: install it, or save with DEFLATE or unpacked",
            )
            file.seek(begin)
            numbers = _by_opencv(file.read())
        numbers = numbers.reshape(one.imagelength, one.imagewidth, samples)
        return Decoded(
            name,
            "TIFF",
            numbers=_turned(numbers, 1 if turn is None else int(turn.value)),
            bits=int(one.bitspersample),
            signed=numbers.dtype.kind == "i",
            white_is_zero=one.photometric == 0,
            alpha=samples in (2, 4) and len(extra) == 1 and extra[0] in (1, 2),
            lossy=int(one.compression) in _LOSSY_COMPRESSIONS,
        )


@contextlib.contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Without the log lines of a library: what is wrong with a file is said once, by the error."""
    logger = logging.getLogger(name)
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before


def _by_opencv(encoded: bytes) -> Numbers:  # (H, W, C)
    import cv2

    numbers = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_UNCHANGED)
    if numbers is None:
        raise ValueError("OpenCV cannot decode it")
    if numbers.ndim == 2:
        return np.asarray(numbers)[:, :, None]
    order = [2, 1, 0, 3][: numbers.shape[2]]  # OpenCV gives blue first
    return np.asarray(numbers)[:, :, order]


def _turned(numbers: Numbers, orientation: int) -> Numbers:
    """Row 0 and column 0 of the file, brought to the top left of the scene (TIFF 6.0, tag Orientation)."""
    if orientation >= 5:
        numbers = numbers.swapaxes(0, 1)
    down = orientation in (3, 4, 7, 8)
    left = orientation in (2, 3, 6, 7)
    return numbers[:: -1 if down else 1, :: -1 if left else 1]
