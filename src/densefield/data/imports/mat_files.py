"""MATLAB's files of version 5 to 7.2, as far as data sets need them: matrices, text, structures, cells.

MathWorks, "MAT-File Format", Level 5. Read here, as scipy's reader ends the process on some damaged files.
"""

from __future__ import annotations

import math
import struct
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from densefield.checks import InputError, check, shown

_MOST_BYTES = 256 * 2**20  # unpacked; the largest of the sets' take two
_HEAD = 128  # bytes before the first element
_STORED = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8", 16: "u1"}
_MATRIX, _COMPRESSED, _UTF16 = 14, 15, 17
_CELL, _STRUCTURE, _TEXT = 1, 2, 4
_NUMBERS = range(6, 16)
_COMPLEX = 0x800


def mat_files(folder: Path) -> list[Path]:
    """The .mat files of a folder in order of name."""
    files = sorted(folder.glob("*.mat"))
    check(bool(files), f"{folder}: {'holds no .mat file' if folder.is_dir() else 'no such folder'}; check the layout")
    return files


def read_mat(path: Path, name: str) -> Any:
    """The variable of this name: a matrix, text, a list of dictionaries for a structure, a list for a cell.

    What else there is, such as sparse matrices, is None. Raises `InputError` naming the file where it is damaged, holds
    no such variable or is of another version.
    """
    try:
        check(path.stat().st_size <= _MOST_BYTES, f"larger than {_MOST_BYTES // 2**20} MiB")
        raw = path.read_bytes()
        check(not raw.startswith(b"MATLAB 7.3"), "a MATLAB file of version 7.3; save it again with -v7")
        check(raw.startswith(b"MATLAB 5.0") and len(raw) > _HEAD, "not a MATLAB file of version 5 to 7.2")
        return _variable(raw, name)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check it") from error
    except (struct.error, zlib.error, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"{path}: a damaged MATLAB file ({error})") from error
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _variable(raw: bytes, name: str) -> Any:
    order = "<" if raw[126:128] == b"IM" else ">"
    at, names = _HEAD, []
    while at + 8 <= len(raw):
        element = _element(memoryview(raw), at, order)
        at = element.end
        if element.kind == _COMPRESSED:
            unpacked = zlib.decompressobj().decompress(element.data, _MOST_BYTES + 1)
            check(len(unpacked) <= _MOST_BYTES, f"takes more than {_MOST_BYTES // 2**20} MiB once unpacked")
            element = _element(memoryview(unpacked), 0, order)
        if element.kind == _MATRIX:
            found, value = _matrix(element.data, order, only=name)
            if found == name:
                return value
            names.append(found)
    raise InputError(f"holds {', '.join(map(shown, names[:8])) or 'nothing'}; wanted {name}")


class _Element(NamedTuple):
    kind: int
    data: memoryview
    end: int


def _element(data: memoryview, at: int, order: str) -> _Element:
    """The element that begins at `at`; one of up to four bytes has its length beside its kind."""
    (tag,) = struct.unpack_from(f"{order}I", data, at)
    if tag >> 16:
        check(tag >> 16 <= 4 and at + 8 <= len(data), "a damaged MATLAB file (an element's length)")
        return _Element(tag & 0xFFFF, data[at + 4 : at + 4 + (tag >> 16)], at + 8)
    (size,) = struct.unpack_from(f"{order}I", data, at + 4)
    end = at + 8 + size
    check(end <= len(data), "a damaged MATLAB file (ends early)")
    return _Element(tag, data[at + 8 : end], end if tag == _COMPRESSED else end + -end % 8)


def _matrix(data: memoryview, order: str, only: str = "") -> tuple[str, Any]:
    """Name and value of what a matrix element holds; no value where its name is not `only`."""
    if len(data) == 0:  # MATLAB's way to write []
        return "", np.zeros((0, 0))
    flags = _element(data, 0, order)
    (word,) = struct.unpack_from(f"{order}I", flags.data)
    sizes = _element(data, flags.end, order)
    shape = tuple(_numbers(sizes, order).tolist())
    check(len(shape) >= 2 and min(shape) >= 0, "a damaged MATLAB file (a size)")
    label = _element(data, sizes.end, order)
    name = bytes(label.data).decode("latin-1")
    if only not in ("", name):
        return name, None
    kind, count = word & 0xFF, math.prod(shape)
    if kind == _CELL:
        return name, _matrices(data, label.end, count, order)
    if kind == _STRUCTURE:
        length = _element(data, label.end, order)
        width = max(1, int(_numbers(length, order)[:1].sum()))
        listed = _element(data, length.end, order)
        text = bytes(listed.data).decode("latin-1")
        fields = [text[at : at + width].partition("\0")[0] for at in range(0, len(text), width)]
        members = _matrices(data, listed.end, count * len(fields), order)
        return name, [dict(zip(fields, row, strict=True)) for row in zip(*[iter(members)] * len(fields), strict=True)]
    if kind not in (_TEXT, *_NUMBERS) or word & _COMPLEX:
        return name, None
    values = _element(data, label.end, order)
    if kind == _TEXT:
        encoding = "utf-16-le" if order == "<" else "utf-16-be"
        wide = values.kind in (4, _UTF16)
        return name, bytes(values.data).decode(encoding if wide else "utf-8")
    numbers = _numbers(values, order)
    check(len(numbers) == count, f"a damaged MATLAB file ({len(numbers)} values for a matrix of {count})")
    return name, numbers.reshape(shape, order="F")


def _matrices(data: memoryview, at: int, count: int, order: str) -> list[Any]:
    check(8 * count <= len(data), "a damaged MATLAB file (more members than it has bytes for)")
    found = []
    for _ in range(count):
        element = _element(data, at, order)
        check(element.kind == _MATRIX, "a damaged MATLAB file (a member that is no matrix)")
        found.append(_matrix(element.data, order)[1])
        at = element.end
    return found


def _numbers(element: _Element, order: str) -> npt.NDArray[Any]:
    check(element.kind in _STORED, f"a damaged MATLAB file (numbers of kind {element.kind})")
    kind = np.dtype(order + _STORED[element.kind])
    check(len(element.data) % kind.itemsize == 0, "a damaged MATLAB file (part of a number)")
    return np.frombuffer(element.data, kind)


def field(structure: Any, name: str, where: str) -> Any:
    """The field of a structure that stands alone."""
    right = isinstance(structure, list) and len(structure) == 1 and isinstance(structure[0], dict)
    check(right and name in structure[0], f"{where}: wanted a structure with {name}")
    return structure[0][name]


def labels_of(values: Any, where: str) -> npt.NDArray[np.int64]:  # (H, W)
    """A matrix of whole numbers."""
    right = isinstance(values, np.ndarray) and values.ndim == 2 and values.size > 0
    right = right and bool(np.isfinite(values).all() and (values == np.rint(values)).all())
    check(right, f"{where}: wanted a matrix of labels")
    check(bool((np.abs(values) < 2**31).all()), f"{where}: wanted labels, received {values.max():g}")
    return np.asarray(values, np.int64)
