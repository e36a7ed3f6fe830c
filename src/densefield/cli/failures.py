"""What went wrong, in one line: of a command, or of one image among many."""

from __future__ import annotations

import errno

from densefield.checks import InputError, one_line
from densefield.files import Unwritable

_FULL = (errno.ENOSPC, errno.EDQUOT)
_NO_MEMORY = ("out of memory", "allocate memory", "not enough memory")


def out_of_memory(error: Exception) -> bool:
    """Whether Python, NumPy or torch (whose CPU allocator raises plain RuntimeErrors) found no memory."""
    return isinstance(error, MemoryError) or any(words in str(error) for words in _NO_MEMORY)


def of_a_command(error: Exception) -> str:
    """Why a command ended, and what to do; raises what is a fault of ours."""
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, OSError) and error.errno in (*_FULL, errno.EACCES, errno.EROFS, errno.ENOENT):
        where = f"{error.filename}: " if error.filename else ""
        remedy = "free some space" if error.errno in _FULL else "check it"
        return f"{where}{error.strerror}; {remedy} or choose another place"
    if isinstance(error, MemoryError | RuntimeError) and out_of_memory(error):
        # A loader worker's comes with its traceback, the message last.
        last = (str(error).strip().splitlines() or ["no more to be had"])[-1]
        return f"out of memory ({last[:120]}); try a smaller batch_size, crop or tile, or fewer --workers"
    raise error


def of_an_image(error: Exception, remedy: str) -> str:
    """Why one image failed; `remedy` is against too little memory. Raises what the next would meet, and our faults."""
    if isinstance(error, Unwritable) and not error.for_its_name:
        raise error  # a full disk, a locked folder
    if isinstance(error, InputError):
        return str(error)
    text = one_line(error, 300)
    if out_of_memory(error):
        return text if "worker" in text else f"too large for the memory; try {remedy}"
    if isinstance(error, RuntimeError):
        return text
    raise error
