"""An estimate before an allocation: a clear error in place of a process killed for its memory."""

from __future__ import annotations

import os
from pathlib import Path

from densefield.checks import InputError


def check_memory(wanted: int, what: str) -> None:
    """Raise `InputError` where `what` needs more than the `wanted` bytes that the machine has left."""
    if wanted < 1 << 26:
        return
    free = _available()
    if free is not None and wanted > free:
        raise InputError(
            f"{what} needs {wanted / 2**30:.1f} GiB, {free / 2**30:.1f} GiB are free; "
            "use larger kernel widths, fewer labels or a smaller image"
        )


def _available() -> int | None:
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None
