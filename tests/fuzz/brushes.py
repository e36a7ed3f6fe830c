"""Label Studio's packing of a brush, written from the description of @thi.ng/rle-pack."""

from __future__ import annotations

import itertools

import numpy as np


def packed(mask: np.ndarray) -> list[int]:
    """A mask (H, W) as the bytes that Label Studio exports: red, green, blue and alpha in runs."""
    values = np.zeros((*mask.shape, 4), np.uint8)
    values[mask] = (10, 20, 30, 255)
    flat = values.ravel().tolist()
    sizes = (3, 4, 8, 16)  # bits of a length, by kind
    bits = f"{len(flat):032b}{8 - 1:05b}" + "".join(f"{size - 1:04b}" for size in sizes)

    def length(run: int) -> str:
        kind = next(kind for kind, size in enumerate(sizes) if run - 1 < 2**size)
        return f"{kind:02b}{run - 1:0{sizes[kind]}b}"

    runs = [(value, len(list(group))) for value, group in itertools.groupby(flat)]
    for alone, group in itertools.groupby(runs, key=lambda run: run[1] == 1):
        some = list(group)
        if alone:
            bits += "0" + length(len(some)) + "".join(f"{value:08b}" for value, _ in some)
        else:
            bits += "".join(f"1{length(run)}{value:08b}" for value, run in some)
    bits += "0" * (-len(bits) % 8)
    return [int(bits[at : at + 8], 2) for at in range(0, len(bits), 8)]
