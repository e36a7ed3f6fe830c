"""PyTorch's own checkpoint files, read only after their contents have been checked without running anything.

`torch.load(weights_only=True)` runs no foreign code, yet a file of a kilobyte can claim tensors of terabytes: by a
compressed archive, by a stride of zero, by a storage larger than its record. Each is refused here before torch sees it.
So it is in the format from before PyTorch 1.6, which most published .pth files have: five pickles (a mark, a version,
the writer's machine, what was saved, the storages' keys), then each storage's count and numbers.
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
from typing import Any, BinaryIO, NamedTuple, NoReturn

import torch

from densefield.checks import InputError, check, one_line, shown

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
_OLD = bytes.fromhex("80028a0a6cfc9c46f9206aa850192e")  # the pickled mark that such files begin with
_TENSOR_REBUILDERS = {"_rebuild_tensor", "_rebuild_tensor_v2"}


def read_checkpoint(path: str | os.PathLike[str]) -> Any:
    """What `torch.save` wrote, also before PyTorch 1.6, with every tensor on the CPU.

    Raises `InputError` naming the file when it is missing, damaged, would need code to be run, or claims more than it
    holds.
    """
    path = Path(path)
    check(path.is_file(), f"{path}: no such file; wanted a checkpoint written by torch.save")
    try:
        with path.open("rb") as file:
            begin = file.read(len(_OLD))
        if begin == _OLD:
            _check_old(path)
        else:  # torch goes by the first bytes too; an archive may also stand behind something else
            archive = begin.startswith(b"PK\x03\x04") and zipfile.is_zipfile(path)
            check(archive, f"{path}: not a checkpoint written by torch.save, or cut short; save or download it again")
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


def _check_old(path: Path) -> None:
    """Hold what the pickles claim against the counts behind them, and all of it against the file's size."""
    size = path.stat().st_size
    with path.open("rb") as file:
        for _ in range(3):
            _Inspector(path, _next_pickle(path, file), {}).load()
        inspector = _Inspector(path, _next_pickle(path, file), None)
        inspector.load()
        keys = _Inspector(path, _next_pickle(path, file), {}).load()
        same = isinstance(keys, list) and len(keys) == len(inspector.claimed) and set(keys) == set(inspector.claimed)
        check(same, f"{path}: its storages are not those of its tensors; refused")
        place = file.tell()
        for key in keys:
            elements, width = inspector.claimed[key]
            file.seek(place)
            held = int.from_bytes(file.read(8), "little", signed=True)
            place += 8 + elements * width
            right = held == elements and place <= size
            check(right, f"{path}: a storage claims {elements} elements of {width} bytes, but is not held; refused")


def _next_pickle(path: Path, file: BinaryIO) -> bytes:
    """The bytes of the pickle that begins here; the file then stands behind it."""
    begin = file.tell()
    data = file.read(_LARGEST_PICKLE)
    end = 1 + max(place or 0 for _, _, place in pickletools.genops(data))  # which ends at the STOP
    file.seek(begin + end)
    _check_memo(path, data[:end])
    return data[:end]


def _check_memo(path: Path, data: bytes) -> None:
    """The unpickler sets aside memory for the highest memo index, however short the file."""
    for opcode, argument, _ in pickletools.genops(data):
        if "PUT" in opcode.name and argument is not None:
            check(int(argument) <= len(data), f"{path}: a memo index of {argument} in {len(data)} bytes; refused")


class _Storage(NamedTuple):
    """A storage as the pickle claims it: its elements, held against its record's bytes, or about to be."""

    elements: int


class _Placeholder:
    """Stands for whatever the pickle names; takes any call and any state, and does nothing."""

    def __init__(self, *arguments: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


class _Inspector(pickle.Unpickler):
    """Walks the pickle with placeholders instead of what it names, and checks each tensor's claims.

    `records` are the bytes held for each storage; None in the old format, where they come later: `claimed` then has
    each storage's elements and their width.
    """

    def __init__(self, path: Path, data: bytes, records: dict[str, int] | None) -> None:
        super().__init__(io.BytesIO(data))
        self._path = path
        self._records = records
        self.claimed: dict[str, tuple[int, int]] = {}

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
        if self._records is None:
            return self._old_storage(pid)
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

    def _old_storage(self, pid: Any) -> _Storage:
        """As before PyTorch 1.6: a part of a storage may be named too, by its first element and their count."""
        if isinstance(pid, tuple) and pid[:1] == ("module",):
            self._refuse("holds a whole model, which needs its code; wanted its state_dict")
        if not (isinstance(pid, tuple) and len(pid) == 6 and pid[0] == "storage" and isinstance(pid[2], str)):
            self._refuse("a storage that is described wrongly")
        _, width, key, _, elements, part = pid
        if not (isinstance(width, int) and isinstance(elements, int) and elements >= 0):
            self._refuse("a storage of no known kind")
        if self.claimed.setdefault(key, (elements, width)) != (elements, width):
            self._refuse(f"two claims on the storage {key!r}")
        if part is None:
            return _Storage(elements)
        plain = isinstance(part, tuple) and len(part) == 3 and all(isinstance(number, int) for number in part[1:])
        if not plain or part[1] < 0 or part[2] < 0 or part[1] + part[2] > elements:
            self._refuse(f"a part of a storage that is described wrongly: {shown(part)}")
        return _Storage(part[2])

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
