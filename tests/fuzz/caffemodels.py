"""Caffe's wire format as tests write it: layers of each age, blobs packed or not, without reading code of ours."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np

V1_TYPES = {"Convolution": 4, "InnerProduct": 14, "Deconvolution": 39}
V0_TYPES = {"Convolution": "conv", "InnerProduct": "innerproduct"}


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def span(field: int, data: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(data)) + data


def text(field: int, value: str) -> bytes:
    return span(field, value.encode())


def blob(values: Any, *, packed: bool = True, double: bool = False, older: bool = False, diff: bool = False) -> bytes:
    """A BlobProto; `older` has num, channels, height, width in place of a shape."""
    array = np.asarray(values)
    if older:
        axes = [1] * (4 - array.ndim) + list(array.shape)
        shape = b"".join(number(1 + place, axis) for place, axis in enumerate(axes))
    else:
        shape = span(7, span(1, b"".join(varint(axis) for axis in array.shape)))
    field, form = (8, "<d") if double else (5, "<f")
    if packed:
        data = span(field, array.astype(form).tobytes())
    else:
        tag = varint(field << 3 | (1 if double else 5))
        data = b"".join(tag + struct.pack(form, value) for value in array.reshape(-1).tolist())
    gradient = span(6, np.zeros(array.size, "<f").tobytes()) if diff else b""
    return shape + data + gradient


def layer(name: str, kind: str, blobs: Sequence[bytes], *, age: int = 2, reads: str = "") -> bytes:
    """A layer of a NetParameter, as V2, V1 or V0 has it."""
    if age == 2:
        bottom = text(3, reads) if reads else b""
        return span(100, text(1, name) + text(2, kind) + bottom + b"".join(span(7, each) for each in blobs))
    bottom = text(2, reads) if reads else b""
    if age == 1:
        held = number(5, V1_TYPES.get(kind, 0)) + b"".join(span(6, each) for each in blobs)
        return span(2, bottom + text(4, name) + held)
    inner = text(1, name) + text(2, V0_TYPES.get(kind, kind)) + b"".join(span(50, each) for each in blobs)
    return span(2, span(1, inner) + bottom)


def caffemodel(*layers: bytes) -> bytes:
    return text(1, "a network") + b"".join(layers)
