"""JSON that a tool wrote: refused by its size before it is parsed, and each value asked for by its type."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import numpy as np
import numpy.typing as npt

from densefield.checks import InputError, check, counted, one_line, shown

MOST_BYTES = 512 * 2**20  # COCO's training set of 2017 takes 448 MiB, and ten times as much once it is parsed
_WORDS: dict[type, str] = {str: "text", list: "a list", dict: "an object", int: "a whole number"}

T = TypeVar("T", str, int, list[Any], dict[str, Any])


def json_in(source: Path) -> Path:
    """The file, or the only .json file of the folder, at `source`."""
    if not source.is_dir():
        return source
    files = sorted(source.glob("*.json"))
    check(len(files) == 1, f"{source}: holds {counted(len(files), '.json file')}; name the one that is meant")
    return files[0]


def read_json(path: Path) -> Any:
    """What the file holds; raises `InputError` naming it where it is too large, or no JSON."""
    try:
        size = path.stat().st_size
        most = f"wanted at most {MOST_BYTES // 2**20} MiB: import it in parts"
        check(size <= MOST_BYTES, f"{path}: {size // 2**20:,} MiB of JSON; {most}")
        return json.loads(path.read_bytes().decode("utf-8-sig"), parse_constant=_refused)
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a JSON file ({one_line(error, 120)})") from error


def _refused(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number")


def member(plain: Any, key: str, kind: type[T], where: str) -> T:
    """The value of `key`, which is to be of this type; raises `InputError` that says where it is not."""
    if not isinstance(plain, dict):
        raise InputError(f"{where}: wanted an object with {key!r}, received {shown(plain)}")
    value = plain.get(key)
    if not isinstance(value, kind) or isinstance(value, bool):
        received = shown(value) if key in plain else "nothing"
        raise InputError(f"{where}: {key}: wanted {_WORDS[kind]}, received {received}")
    if isinstance(value, str):  # names of files and classes: neither a line break nor half a character
        odd = any(unicodedata.category(letter) in ("Cc", "Cs") for letter in value)
        check(bool(value) and not odd, f"{where}: {key}: wanted text of one line, received {shown(value)}")
    return value


def numbers(value: Any, shape: tuple[int, ...], where: str) -> npt.NDArray[np.float64]:
    """Finite numbers in this shape, -1 for as many as there are: (-1, 2) for points, also when they lie flat."""
    try:
        found = np.array(value)
        found = found.astype(np.float64) if found.dtype.kind in "iuf" else np.array(np.nan)
        if found.ndim != len(shape):
            found = found.reshape(shape)
    except (TypeError, ValueError, OverflowError):
        found = np.array(np.nan)
    right = found.ndim == len(shape) and all(want in (-1, have) for want, have in zip(shape, found.shape, strict=True))
    wanted = "pairs of finite numbers" if shape == (-1, 2) else "finite numbers"
    check(right and bool(np.isfinite(found).all()), f"{where}: wanted {wanted}, received {shown(value)}")
    return found
