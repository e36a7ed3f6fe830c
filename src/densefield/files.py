"""Files are written whole or not at all: a temporary file in the same folder, fsync, then rename."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from densefield.checks import InputError

_FULL = (errno.ENOSPC, errno.EDQUOT)
_NAME = (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL)


class Unwritable(InputError):
    """A file could not be written; where it was `for_its_name`, files of other names may still be."""

    def __init__(self, message: str, for_its_name: bool = False) -> None:
        super().__init__(message)
        self.for_its_name = for_its_name


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open `path` for writing so that it appears only when the block ends well; what stood there survives a failure.

    Raises `Unwritable` naming the file when the folder cannot be written or the disk is full.
    """
    path = Path(path)
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Cut, as its name would else be longer than the file's, which may be as long as names can be.
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:40]}.", suffix=".part")
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
        temporary = None
    except OSError as error:
        if error.filename2 is None and error.errno is None:
            raise
        for_its_name = error.errno in _NAME
        remedy = "free some space or choose another place" if error.errno in _FULL else "choose another place"
        remedy = "rename the input, the file system does not take this name" if for_its_name else remedy
        raise Unwritable(f"{path}: could not be written ({error.strerror}); {remedy}", for_its_name) from error
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)


def _umask() -> int:
    """The process's umask, which mkstemp ignores; reading it means setting it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
