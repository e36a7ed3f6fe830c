"""Masks as lengths of runs."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from densefield.checks import InputError, check


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
