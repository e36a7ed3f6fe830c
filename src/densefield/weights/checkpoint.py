"""PyTorch's own checkpoint files, read only after their contents have been checked without running anything.

`torch.load(weights_only=True)` runs no foreign code, yet a file of a kilobyte can claim tensors of terabytes: by a
compressed archive, by a stride of zero, by a storage larger than its record. Each is refused here before torch sees it.
"""

from __future__ import annotations

import collections
import io
import math
import os
import pickle
import pickletools
import re
import zipfile
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import torch

from densefield.checks import InputError, check, one_line

_LARGEST_PICKLE = 64 * 2**20
_BYTES_OF_STORAGE = {
    "BoolStorage": 1,
    "ByteStorage": 1,
    "CharStorage": 1,
    "UntypedStorage": 1,
    "ShortStorage": 2,
    "HalfStorage": 2,
    "BFloat16Storage": 2,
    "IntStorage": 4,
    "FloatStorage": 4,
    "LongStorage": 8,
    "DoubleStorage": 8,
    "ComplexFloatStorage": 8,
    "ComplexDoubleStorage": 16,
}
_TENSOR_REBUILDERS = {"_rebuild_tensor", "_rebuild_tensor_v2"}


def read_checkpoint(path: str | os.PathLike[str]) -> Any:
    """What `torch.save` wrote, with every tensor on the CPU.

    Raises `InputError` naming the file when it is missing, damaged, in the format from before PyTorch 1.6, would need
    code to be run, or claims more than it holds.
    """
    path = Path(path)
    check(path.is_file(), f"{path}: no such file; wanted a checkpoint written by torch.save")
    try:
        _check_archive(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except InputError:
        raise
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL (\S+)", str(error))
        what = f"needs {found[1]}, which is not plain data" if found else "is not plain data"
        raise InputError(f"{path}: {what}; wanted tensors, numbers, texts, lists and dictionaries only") from error
    except Exception as error:
        # A damaged pickle can fail in any way while it is read; the person needs one line, the cause stays attached.
        reason = one_line(error)
        raise InputError(f"{path}: damaged checkpoint ({reason}); save or download it again") from error


def _check_archive(path: Path) -> None:
    if not zipfile.is_zipfile(path):
        raise InputError(f"{path}: not a checkpoint of PyTorch 1.6 or later, or cut short; save or download it again")
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        total = 0
        for entry in entries:
            check(entry.compress_type == zipfile.ZIP_STORED, f"{path}: compressed entry {entry.filename}; refused")
            total += entry.file_size
        check(total <= path.stat().st_size, f"{path}: its entries claim {total} bytes, more than the file has; refused")
        sizes = {entry.filename: entry.file_size for entry in entries}
        check(len(sizes) == len(entries), f"{path}: two entries of one name; refused")
        pickles = [name for name in sizes if name.endswith("/data.pkl")]
        check(len(pickles) == 1, f"{path}: wanted one data.pkl inside, found {len(pickles)}; save or download it again")
        size = sizes[pickles[0]]
        check(size <= _LARGEST_PICKLE, f"{path}: a description of {size} bytes, wanted at most {_LARGEST_PICKLE}")
        data = archive.read(pickles[0])
    _check_memo(path, data)
    records = pickles[0].removesuffix("data.pkl") + "data/"
    held = {name[len(records) :]: size for name, size in sizes.items() if name.startswith(records)}
    _Inspector(path, data, held).load()


def _check_memo(path: Path, data: bytes) -> None:
    """The unpickler sets aside memory for the highest memo index, however short the file."""
    for opcode, argument, _ in pickletools.genops(data):
        if "PUT" in opcode.name and argument is not None:
            check(int(argument) <= len(data), f"{path}: a memo index of {argument} in {len(data)} bytes; refused")


class _Storage(NamedTuple):
    """A storage as the pickle claims it: its elements, already held against its record's bytes."""

    elements: int


class _Placeholder:
    """Stands for whatever the pickle names; takes any call and any state, and does nothing."""

    def __init__(self, *arguments: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


class _Inspector(pickle.Unpickler):
    """Walks the pickle with placeholders instead of what it names, and checks each tensor's claims."""

    def __init__(self, path: Path, data: bytes, records: dict[str, int]) -> None:
        super().__init__(io.BytesIO(data))
        self._path = path
        self._records = records

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if module == "torch" and name.endswith("Storage"):
            if name not in _BYTES_OF_STORAGE:
                self._refuse(f"holds numbers of a kind that is not read ({name})")
            return _BYTES_OF_STORAGE[name]
        if module == "torch._utils" and name in _TENSOR_REBUILDERS:
            return self._tensor
        if "rebuild" in name and (module, name) != ("torch._utils", "_rebuild_parameter"):
            self._refuse(f"holds a tensor of a kind that is not read ({name}); wanted plain dense tensors")
        return _Placeholder

    def persistent_load(self, pid: Any) -> _Storage:
        if not (isinstance(pid, tuple) and len(pid) == 5 and pid[0] == "storage"):
            self._refuse("a storage that is described wrongly")
        _, width, key, _, elements = pid
        held = self._records.get(key)
        if held is None:
            self._refuse(f"misses the record {key!r}")
        if not isinstance(width, int):
            self._refuse("a storage of no known kind")
        if not isinstance(elements, int) or elements < 0 or elements * width != held:
            self._refuse(f"record {key!r} claims {elements} elements of {width} bytes, but holds {held} bytes")
        return _Storage(elements)

    def _tensor(self, storage: Any, offset: Any, shape: Any, strides: Any, *_rest: object) -> _Placeholder:
        numbers = (offset, *shape, *strides)
        plain = all(isinstance(number, int) and number >= 0 for number in numbers) and len(shape) == len(strides)
        if not plain or not isinstance(storage, _Storage):
            self._refuse(f"a tensor that is described wrongly: shape {shape}, strides {strides}, offset {offset}")
        elements = math.prod(shape)
        reaches = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True)) + 1
        if elements and max(elements, reaches) > storage.elements:
            self._refuse(f"a tensor of shape {tuple(shape)} over a storage of {storage.elements} elements")
        return _Placeholder()

    def _refuse(self, what: str) -> NoReturn:
        raise InputError(f"{self._path}: {what}; refused")
