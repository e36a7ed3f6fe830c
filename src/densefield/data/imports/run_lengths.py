"""Masks as lengths of runs: COCO's down the columns, and those of Label Studio's brush."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from densefield.checks import InputError, check


def coco_counts(text: str) -> list[int]:
    """The lengths that COCO's compact text stands for (pycocotools, `rleFrString`).

    Five bits a letter from the lowest on, the sixth says that more follow; the last one's fifth is the sign, and from
    the fourth length on what stands there is the difference from the last but one.
    """
    counts: list[int] = []
    value = shift = 0
    for letter in text:
        bits = ord(letter) - 48
        check(0 <= bits < 64, f"holds {letter!r}, wanted letters from '0' to 'o'")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (bits & 16) << (shift - 4)  # two's complement
            counts.append(value + counts[-2] if len(counts) > 2 else value)
            value = shift = 0
    check(shift == 0, "ends within a number")
    return counts


def coco_mask(counts: Sequence[int], size: tuple[int, int]) -> npt.NDArray[np.bool_]:  # (H, W)
    """Runs of 0 and 1 in turn, down one column after the other, 0 first."""
    height, width = size
    right = all(isinstance(count, int) and count >= 0 for count in counts) and sum(counts) == height * width
    check(right, f"its runs do not fill {width}x{height} pixels")
    ones = np.arange(len(counts)) % 2 == 1
    return np.repeat(ones, counts).reshape(width, height).T


def brush_mask(data: Iterable[int], size: tuple[int, int]) -> npt.NDArray[np.bool_]:  # (H, W)
    """The painted pixels: of red, green, blue and alpha, packed as @thi.ng/rle-pack does, alpha is what counts.

    A stream of bits: 32 for how many values, 5 for a value's bits, four times 4 for a length's bits; then runs of a
    bit for "all alike", 2 for the kind of length, the length, and one value, or as many as it says.
    """
    try:
        bits = "".join(f"{byte:08b}" for byte in bytes(data))
    except (TypeError, ValueError) as error:
        raise InputError("wanted whole numbers from 0 to 255") from error
    at = 0

    def read(length: int) -> int:
        nonlocal at
        at += length
        check(at <= len(bits), "ends early")
        return int(bits[at - length : at], 2)

    count, width = read(32), read(5) + 1
    check(count == 4 * size[0] * size[1], f"holds {count} values, wanted 4 for each of {size[1]}x{size[0]} pixels")
    check(width == 8, f"holds values of {width} bits, wanted 8")
    lengths = [read(4) + 1 for _ in range(4)]
    values = bytearray()
    while len(values) < count:
        alike = read(1)
        run = read(lengths[read(2)]) + 1
        check(len(values) + run <= count, f"holds more than {count} values")
        values += bytes([read(8)]) * run if alike else bytes(read(8) for _ in range(run))
    return np.frombuffer(bytes(values), np.uint8).reshape(*size, 4)[:, :, 3] > 0
