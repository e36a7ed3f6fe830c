"""The build: scikit-build-core, and a package on plain torch where the native kernels do not compile.

A build that fails is done again without kernels, unless `DENSEFIELD_REQUIRE_NATIVE=1`. The reason goes into the package
as `ops/not_built.txt`: pip hides what a build prints, so it is the first op that tells it. Interface: PEP 517 and PEP
660, without `prepare_metadata`, since the wheel's tag depends on the outcome.
"""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

REASON = Path("src/densefield/ops/not_built.txt")
AGAIN = (
    "To see all of it, install again with DENSEFIELD_REQUIRE_NATIVE=1 in the environment and "
    "`pip install --verbose --force-reinstall --no-deps --no-cache-dir`"
)
_COMPILER = re.compile(r"\berror(?: [A-Z]+\d+)?:|undefined reference|cannot find -l")
_LONGEST = 400

Settings = dict[str, "list[str] | str"]
Build = Callable[[str, "Settings | None", "str | None"], str]


def build_wheel(directory: str, settings: Settings | None = None, metadata: str | None = None) -> str:
    """Build a wheel into `directory`; give its name."""
    from scikit_build_core import build

    return _with_kernels_or_without(build.build_wheel, directory, settings, metadata)


def build_editable(directory: str, settings: Settings | None = None, metadata: str | None = None) -> str:
    """Build an editable wheel into `directory`; give its name."""
    from scikit_build_core import build

    return _with_kernels_or_without(build.build_editable, directory, settings, metadata)


def build_sdist(directory: str, settings: Settings | None = None) -> str:
    """Pack the sources into `directory`; give the archive's name."""
    from scikit_build_core import build

    REASON.unlink(missing_ok=True)
    return build.build_sdist(directory, settings)


def get_requires_for_build_wheel(settings: Settings | None = None) -> list[str]:
    """Name what the build needs: CMake and Ninja, where the machine has none."""
    from scikit_build_core import build

    return build.get_requires_for_build_wheel(settings)


def get_requires_for_build_editable(settings: Settings | None = None) -> list[str]:
    """Name what the build needs: CMake and Ninja, where the machine has none."""
    from scikit_build_core import build

    return build.get_requires_for_build_editable(settings)


def get_requires_for_build_sdist(settings: Settings | None = None) -> list[str]:
    """Name what packing the sources needs."""
    from scikit_build_core import build

    return build.get_requires_for_build_sdist(settings)


def first_error(output: str) -> str:
    """Find the compiler's first error in a build's output, else what a failed command printed, else CMake's."""
    lines = [line for line in map(str.strip, output.splitlines()) if line]
    told = [line for line in lines if _COMPILER.search(line)]
    for i, line in enumerate(lines):
        if line.startswith("FAILED:") and not told:  # the command, then what it printed
            told = [more for more in lines[i + 2 : i + 3] if not more.startswith("ninja:")]
    for i, line in enumerate(lines):
        if line.startswith("CMake Error") and not told:
            told = [" ".join(lines[i : i + 5])]
    return [*told, *reversed(lines), "it printed nothing"][0][:_LONGEST]


def _with_kernels_or_without(build: Build, directory: str, settings: Settings | None, metadata: str | None) -> str:
    REASON.unlink(missing_ok=True)
    if os.environ.get("DENSEFIELD_REQUIRE_NATIVE", "0") not in ("", "0"):
        return build(directory, settings, metadata)
    with _recorded() as output:
        try:
            return build(directory, settings, metadata)
        except SystemExit:  # scikit-build-core's word for a failed CMake, compiler or linker
            pass
    reason = first_error(output.decode(errors="replace"))
    REASON.write_text(reason + "\n", encoding="utf-8")
    name = build(directory, {**(settings or {}), "wheel.cmake": "false"}, metadata)
    print(f"densefield was built WITHOUT its native kernels: {reason}. {AGAIN}.", file=sys.stderr)  # noqa: T201
    return name


@contextmanager
def _recorded() -> Iterator[bytearray]:
    """Keep a copy of what this process and its children print."""
    output = bytearray()
    source, sink = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    shown = {descriptor: os.dup(descriptor) for descriptor in (1, 2)}

    def copy() -> None:
        while chunk := os.read(source, 1 << 16):
            output.extend(chunk)
            os.write(shown[1], chunk)

    copier = threading.Thread(target=copy, daemon=True)
    copier.start()
    for descriptor in shown:
        os.dup2(sink, descriptor)
    os.close(sink)
    try:
        yield output
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for descriptor, kept in shown.items():
            os.dup2(kept, descriptor)
        copier.join(timeout=10)  # what a compiler's server still holds open is not waited for
        if not copier.is_alive():
            for descriptor in (source, *shown.values()):
                os.close(descriptor)
