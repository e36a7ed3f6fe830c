"""Which bands of a file are red, green and blue, and which values are black and white: one rule for every type."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt
from PIL import Image

from densefield.checks import InputError, check
from densefield.images.decoding import Decoded, Numbers

Pixels = npt.NDArray[np.uint8]

_ALPHA = ("RGBA", "LA", "PA", "La", "RGBa")
_DIM = 4  # a picture of a wide type whose greatest value is below a quarter of white is not guessed at


@dataclasses.dataclass(frozen=True)
class Reading:
    """How files are read as RGB: `bands`, counted from 1, are red, green and blue (or one: gray); values from
    `range[0]`, black, to `range[1]`, white. By default what the file declares."""

    bands: tuple[int, ...] | None = None
    range: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        if self.bands is not None:
            right = len(self.bands) in (1, 3) and all(isinstance(band, int) and band >= 1 for band in self.bands)
            check(right, f"bands: wanted one or three numbers from 1, such as 4,3,2, received {self.bands}")
        if self.range is not None:
            low, high = self.range
            right = math.isfinite(low) and math.isfinite(high) and low < high
            check(right, f"range: wanted two numbers, black and white, such as 0,4095, received {self.range}")

    @classmethod
    def of_words(cls, bands: str | None = None, range: str | None = None) -> Reading:
        """From what a person types: "4,3,2" and "0,4095"."""
        try:
            numbers = None if bands is None else tuple(int(word) for word in bands.split(","))
            ends = None if range is None else tuple(float(word) for word in range.split(","))
        except ValueError as error:
            raise InputError(
                f"bands, range: wanted numbers with commas between, such as --bands 4,3,2 --range 0,4095 ({error})"
            ) from error
        check(ends is None or len(ends) == 2, f"range: wanted two numbers such as 0,4095, received {range}")
        return cls(numbers, None if ends is None else (ends[0], ends[1]))

    def over(self, other: Reading) -> Reading:
        """This one, and `other`'s where this says nothing."""
        return Reading(self.bands or other.bands, self.range or other.range)


LUMINANCE = (0.299, 0.587, 0.114)  # of red, green and blue: ITU-R BT.601, as Pillow's mode "L"
AS_DECLARED = Reading()


def rgb(found: Decoded, reading: Reading = AS_DECLARED) -> Pixels:  # (H, W, 3)
    """What a file holds as 8-bit RGB.

    Three bands are red, green and blue, a single one is gray, declared transparency is laid on white; of other bands
    `reading.bands` has to choose. Unsigned integers of n bits are divided by 2ⁿ - 1, floats in [0, 1] taken as they
    are; of other types `reading.range` has to say what is black and white.
    """
    picture = found.picture
    if picture is not None and reading == AS_DECLARED:
        if _has_alpha(picture) and picture.mode not in ("LA", "La") and not _doubtful_alpha(found, picture):
            upper = picture.convert("RGBA")
            return np.array(Image.alpha_composite(Image.new("RGBA", upper.size, "white"), upper).convert("RGB"))
        if picture.mode not in ("I", "F", "LA", "La") and not picture.mode.startswith("I;") and not _has_alpha(picture):
            return np.array(picture.convert("RGB"))
    values, white, alpha = _numbers(found)
    count = values.shape[2]
    what = f"{count} band{'s' if count > 1 else ''} of {values.dtype}"
    if reading.bands is not None:
        check(
            max(reading.bands) <= count,
            f"{found.name}: holds {what}; bands: wanted numbers from 1 to {count}, received {reading.bands}",
        )
        cover, values = None, values[:, :, [band - 1 for band in reading.bands]]
    else:
        declared = ", the last of them declared as transparency but neither 0 nor full everywhere" if alpha else ""
        cover = _cover(values[:, :, -1], white) if alpha else None
        known = count in (1, 3) or cover is not None
        check(
            known,
            f"{found.name}: holds {what}{declared}; say which are red, green and blue: --bands 3,2,1 (in a recipe"
            " data.bands: [3, 2, 1])",
        )
        values = values if cover is None else values[:, :, :-1]
    narrow = _to_8_bits(values, white, reading.range, found)
    if cover is not None:
        narrow = np.rint(narrow * cover + 255.0 * (1 - cover)).astype(np.uint8)
    return narrow if narrow.shape[2] == 3 else np.repeat(narrow, 3, axis=2)


def _has_alpha(picture: Image.Image) -> bool:
    return picture.mode in _ALPHA or "transparency" in picture.info


def _doubtful_alpha(found: Decoded, picture: Image.Image) -> bool:
    """Whether a TIFF's fourth band may be another than transparency: many programs declare infrared so."""
    if found.format != "TIFF" or picture.mode not in ("RGBA", "RGBa"):
        return False
    band = np.asarray(picture.getchannel(3))
    return bool(((band != 0) & (band != 255)).any())


def _numbers(found: Decoded) -> tuple[Numbers, float | None, bool]:
    """The values (H, W, C), which of them is white (None: nothing says it), and whether the last band is alpha."""
    if found.numbers is not None:
        values = found.numbers
        white = _white(values, found.bits)
        return _upright_grays(values, white, found), white, found.alpha
    picture = found.picture
    assert picture is not None
    if picture.mode.startswith("I;16"):
        values = np.asarray(picture)[:, :, None]
        white = 2.0 ** (found.bits if found.bits > 8 else 16) - 1
        return _upright_grays(values, white, found), white, False
    if picture.mode == "I":  # signed, and wide enough for anything; these two formats put 16 bits into it
        return np.asarray(picture)[:, :, None], 65535.0 if found.format in ("PNG", "PPM") else None, False
    if picture.mode == "F":
        return np.asarray(picture)[:, :, None], None, False
    if picture.mode in ("LA", "La", "RGBA", "RGBa"):
        picture = picture.convert({"La": "LA", "RGBa": "RGBA"}.get(picture.mode, picture.mode))
    elif picture.mode in ("1", "L"):
        return np.asarray(picture.convert("L"))[:, :, None], 255.0, False
    else:
        picture = picture.convert("RGBA" if _has_alpha(picture) else "RGB")
    return np.asarray(picture), 255.0, picture.mode in ("LA", "RGBA")


def _white(values: Numbers, bits: int) -> float | None:
    """The greatest value of the type, where the file's type says what is white."""
    if values.dtype.kind == "b":
        return 1.0
    return 2.0**bits - 1 if values.dtype.kind == "u" and bits <= 16 else None


def _upright_grays(values: Numbers, white: float | None, found: Decoded) -> Numbers:
    """Greys whose file says that 0 is white, turned over."""
    if not found.white_is_zero or white is None or values.shape[2] > 1:
        return values
    return np.asarray(np.asarray(white).astype(values.dtype) - values)


def _cover(band: Numbers, white: float | None) -> npt.NDArray[np.float32] | None:  # (H, W, 1)
    """The opacity that a band declared as transparency stands for; None where it is likely another band."""
    if white is None or ((band != 0) & (band != white)).any():
        return None
    return (band == white).astype(np.float32)[:, :, None]


def _to_8_bits(values: Numbers, white: float | None, ends: tuple[float, float] | None, found: Decoded) -> Pixels:
    """Values of any type as uint8, by the rule that `rgb` states."""
    floating = values.dtype.kind == "f"
    check(values.dtype.kind in "buif", f"{found.name}: holds values of {values.dtype}; wanted numbers")
    if ends is None and white == 255 and values.dtype == np.uint8:
        return np.asarray(values, np.uint8)
    check(
        not floating or bool(np.isfinite(values).all()),
        f"{found.name}: holds NaN or Inf values; wanted finite numbers only",
    )
    least, most = float(values.min()), float(values.max())
    if ends is None:
        what = f"{found.name}: holds {values.dtype} values from {least:g} to {most:g}"
        flags = "--range {0:g},{1:g} (in a recipe data.range: [{0:g}, {1:g}])"
        if floating and least >= 0 and most <= 1:
            white = 1.0
        if white is None:
            say = flags.format(least, most if most > least else least + 1)
            raise InputError(f"{what}, and nothing says which are black and white; for instance {say}")
        if white == 65535 and 0 < most < (white + 1) / _DIM and found.format != "PPM":
            near = 2.0 ** max(8, math.ceil(math.log2(most + 1))) - 1
            raise InputError(
                f"{what}, which would be dark where 65535 is white; say what is white: {flags.format(0, near)}, or"
                " 0,65535 where it is dark indeed"
            )
        ends = (0.0, white)
    low, high = ends
    scaled = (values.astype(np.float64) - low) * (255.0 / (high - low))
    return np.rint(scaled.clip(0, 255)).astype(np.uint8)
