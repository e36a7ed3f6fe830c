"""Caffe's .caffemodel files: the layers' names, types and blobs, read from a memory map without protobuf.

A NetParameter on the wire holds layers of one of three ages: V2 (field 100), V1 (field 2), V0 (inside a V1). Only what
weights need is read; every length is held against the file, every shape against its numbers, before anything is set
aside. Blobs are views of the map: a file of half a gigabyte is walked in milliseconds.
"""

from __future__ import annotations

import math
import mmap
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, NoReturn, TypeAlias

import numpy as np
from numpy.typing import NDArray

from densefield.checks import InputError, check

Numbers: TypeAlias = NDArray[np.floating[Any]]

# Far above any network's; what a short file could repeat a million times costs more memory than the file.
_MOST_FIELDS = 300_000
_MOST_LAYERS = 10_000
_MOST_BLOBS = 40_000
_MOST_PIECES = 100  # of one blob's numbers
_MOST_AXES = 32  # Caffe's own bound
_LONGEST_NAME = 1000

_VARINT, _EIGHT_BYTES, _SPAN, _FOUR_BYTES = 0, 1, 2, 5
_V1_TYPES = {4: "Convolution", 14: "InnerProduct", 39: "Deconvolution"}  # those whose blobs are weights


class CaffeLayer(NamedTuple):
    """A layer that has blobs. `reads` is the first of what it reads; `kind` is "" where the file does not say it."""

    name: str
    kind: str
    reads: str
    blobs: tuple[Numbers, ...]


class CaffeFile(NamedTuple):
    """The layers in the file's order; `release` lets go of the pages that were read, which the map keeps in memory."""

    layers: tuple[CaffeLayer, ...]
    release: Callable[[], None]


def read_caffemodel(path: str | os.PathLike[str]) -> CaffeFile:
    """The layers with blobs of a .caffemodel (V0, V1 or V2), as views of the file.

    Raises `InputError` naming the file when it is missing, cut short, damaged, claims what it does not hold, or has no
    weights.
    """
    path = Path(path)
    check(path.is_file(), f"{path}: no such file; wanted a .caffemodel")
    check(path.stat().st_size > 0, f"{path}: is empty; download it again")
    with path.open("rb") as file:
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    layers = tuple(_Walk(path, data).layers())
    check(
        bool(layers), f"{path}: holds no layers with weights; wanted a .caffemodel, not a definition or solver's state"
    )
    names = [layer.name for layer in layers]
    check(len(set(names)) == len(names), f"{path}: two layers with weights of one name; refused")

    def release() -> None:
        if hasattr(mmap, "MADV_DONTNEED"):
            data.madvise(mmap.MADV_DONTNEED)

    return CaffeFile(layers, release)


class _Field(NamedTuple):
    """A field's bytes `begin` … `end`, or the `value` of a varint; unpacked numbers that follow each other are one."""

    number: int
    wire: int
    begin: int
    end: int
    value: int = 0


class _Walk:
    """Goes through the messages of one file."""

    def __init__(self, path: Path, data: mmap.mmap) -> None:
        self._path = path
        self._data = data
        self._fields_left = _MOST_FIELDS
        self._blobs_left = _MOST_BLOBS

    def layers(self) -> Iterator[CaffeLayer]:
        count = 0
        for field in self._fields(0, len(self._data)):
            if field.wire == _SPAN and field.number in (2, 100):
                layer = self._v2(field) if field.number == 100 else self._v1(field)
                if layer.blobs:
                    count += 1
                    if count > _MOST_LAYERS:
                        self._refuse(f"more than {_MOST_LAYERS} layers")
                    yield layer

    def _v2(self, message: _Field) -> CaffeLayer:
        name, kind, reads = "", "", ""
        blobs: list[Numbers] = []
        for field in self._fields(message.begin, message.end):
            if field.wire == _SPAN and field.number == 1:
                name = self._text(field)
            elif field.wire == _SPAN and field.number == 2:
                kind = self._text(field)
            elif field.wire == _SPAN and field.number == 3 and not reads:
                reads = self._text(field)
            elif field.wire == _SPAN and field.number == 7:
                blobs.append(self._blob(field, name))
        return CaffeLayer(name, kind, reads, tuple(blobs))

    def _v1(self, message: _Field) -> CaffeLayer:
        name, kind, reads = "", "", ""
        blobs: list[Numbers] = []
        for field in self._fields(message.begin, message.end):
            if field.wire == _SPAN and field.number == 1:  # a V0 layer: here are its connections only
                inner = self._v0(field)
                name, kind = inner.name, inner.kind
                blobs.extend(inner.blobs)
            elif field.wire == _SPAN and field.number == 2 and not reads:
                reads = self._text(field)
            elif field.wire == _SPAN and field.number == 4:
                name = self._text(field)
            elif field.wire == _VARINT and field.number == 5:
                kind = _V1_TYPES.get(field.value, "")
            elif field.wire == _SPAN and field.number == 6:
                blobs.append(self._blob(field, name))
        return CaffeLayer(name, kind, reads, tuple(blobs))

    def _v0(self, message: _Field) -> CaffeLayer:
        name, kind = "", ""
        blobs: list[Numbers] = []
        for field in self._fields(message.begin, message.end):
            if field.wire == _SPAN and field.number == 1:
                name = self._text(field)
            elif field.wire == _SPAN and field.number == 2:
                kind = {"conv": "Convolution", "innerproduct": "InnerProduct"}.get(self._text(field), "")
            elif field.wire == _SPAN and field.number == 50:
                blobs.append(self._blob(field, name))
        return CaffeLayer(name, kind, "", tuple(blobs))

    def _blob(self, message: _Field, layer: str) -> Numbers:
        """A BlobProto's numbers in its shape; what stands for gradients (6, 9) is passed over."""
        self._blobs_left -= 1
        if self._blobs_left < 0:
            self._refuse(f"more than {_MOST_BLOBS} blobs")
        shape: list[int] | None = None
        older = [0, 0, 0, 0]  # num, channels, height, width
        has_older = False
        pieces: list[Numbers] = []
        for field in self._fields(message.begin, message.end):
            if field.number == 7 and field.wire == _SPAN:
                shape = self._shape(field)
            elif field.number in (1, 2, 3, 4) and field.wire == _VARINT:
                older[field.number - 1], has_older = field.value, True
            elif (field.number, field.wire) in ((5, _SPAN), (5, _FOUR_BYTES)):
                pieces.append(self._numbers(field, "<f4"))
            elif (field.number, field.wire) in ((8, _SPAN), (8, _EIGHT_BYTES)):
                pieces.append(self._numbers(field, "<f8"))
            if len(pieces) > _MOST_PIECES:
                self._refuse(f"a blob of layer {layer!r} in more than {_MOST_PIECES} pieces")
        held = sum(len(piece) for piece in pieces)
        axes = shape if shape is not None else older if has_older else [held]
        if math.prod(axes) != held or not held:
            self._refuse(f"a blob of layer {layer!r} claims the shape {_times(axes)}, but holds {held} numbers")
        numbers = pieces[0] if len(pieces) == 1 else np.concatenate(pieces)
        return numbers.reshape(axes)

    def _shape(self, message: _Field) -> list[int]:
        axes: list[int] = []
        for field in self._fields(message.begin, message.end):
            if field.number == 1 and field.wire == _VARINT:
                axes.append(field.value)
            elif field.number == 1 and field.wire == _SPAN:
                place = field.begin
                while place < field.end and len(axes) <= _MOST_AXES:
                    axis, place = self._varint(place, field.end)
                    axes.append(axis)
            if len(axes) > _MOST_AXES:
                self._refuse(f"a shape of more than {_MOST_AXES} axes")
        return axes

    def _numbers(self, field: _Field, kind: str) -> Numbers:
        width = np.dtype(kind).itemsize
        length = field.end - field.begin
        if field.wire == _SPAN:
            if length % width:
                self._refuse(f"{length} bytes of numbers of {width} bytes each")
            return np.frombuffer(self._data, kind, length // width, field.begin)
        # Unpacked: a tag of one byte before each.
        return np.ndarray(((length + 1) // (width + 1),), kind, self._data, field.begin, (width + 1,))

    def _text(self, field: _Field) -> str:
        if field.end - field.begin > _LONGEST_NAME:
            self._refuse(f"a name of {field.end - field.begin} bytes")
        text = self._data[field.begin : field.end].decode("utf-8", "replace")
        return "".join(sign if sign.isprintable() else "?" for sign in text)

    def _fields(self, place: int, end: int) -> Iterator[_Field]:
        """The fields of the message that ends at `end`; groups, which Caffe never had, are refused."""
        while place < end:
            self._fields_left -= 1
            if self._fields_left < 0:
                self._refuse(f"more than {_MOST_FIELDS} fields")
            tag, begin = self._varint(place, end)
            number, wire = tag >> 3, tag & 7
            value = 0
            if wire == _VARINT:
                value, after = self._varint(begin, end)
            elif wire == _SPAN:
                length, begin = self._varint(begin, end)
                after = begin + length
            elif wire in (_FOUR_BYTES, _EIGHT_BYTES):
                width = 4 if wire == _FOUR_BYTES else 8
                repeats = self._repeats(place, end, 1 + width) if begin == place + 1 else 1
                after = begin + width + max(repeats - 1, 0) * (1 + width)
            else:
                self._refuse(f"byte {place} begins no field")
            if after > end:
                self._refuse(f"a field at byte {place} reaches {after - end} bytes beyond what holds it")
            if number == 0:
                self._refuse(f"byte {place} begins no field")
            yield _Field(number, wire, begin, after, value)
            place = after

    def _repeats(self, place: int, end: int, stride: int) -> int:
        """How many fields of this one's tag, a byte, and of `stride` bytes follow each other from `place` on."""
        most, found, step = (end - place) // stride, 0, 16
        tag = self._data[place]
        while found < most:
            count = min(step, most - found)
            tags = np.ndarray((count,), np.uint8, self._data, place + found * stride, (stride,))
            other = np.flatnonzero(tags != tag)
            if len(other):
                return found + int(other[0])
            found, step = found + count, min(2 * step, 2**20)
        return found

    def _varint(self, place: int, end: int) -> tuple[int, int]:
        """A number of 7 bits a byte, lowest first, and the place behind it."""
        value = 0
        for index, byte in enumerate(self._data[place : min(place + 10, end)]):
            value |= (byte & 0x7F) << (7 * index)
            if byte < 0x80:
                return value, place + index + 1
        self._refuse(f"the number at byte {place} does not end")

    def _refuse(self, what: str) -> NoReturn:
        raise InputError(f"{self._path}: not a .caffemodel, or damaged: {what}; download it again")


def _times(axes: list[int]) -> str:
    return "×".join(str(axis) for axis in axes[:6])
