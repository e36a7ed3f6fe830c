"""Which room of csrc/ may include which: read from the source, as tests/test_imports.py reads Python."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "csrc"

# A room may include itself, the C face, and what is listed here; nothing runs back up.
MAY_INCLUDE: dict[str, set[str]] = {
    "base": set(),
    "gaussian": {"base"},
    "lattice": {"base"},
    "window": {"base"},
    "crf": {"base", "gaussian", "lattice"},
}
FACE = "densefield.h"

FILES = sorted(path for path in SOURCE.rglob("*") if path.suffix in (".h", ".cpp"))
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*"([^"]*)"', re.MULTILINE)


def wrong_includes(name: str, text: str) -> list[str]:
    """Give what the file `name`, written from csrc/ on, includes and may not."""
    here = name.split("/")[0]
    allowed = {here, *MAY_INCLUDE[here]} if "/" in name else set()
    included = INCLUDE.findall(text)
    return [one for one in included if one != FACE and not ("/" in one and one.split("/")[0] in allowed)]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(SOURCE).as_posix())
def test_a_room_includes_only_what_lies_below_it(path: Path) -> None:
    name = path.relative_to(SOURCE).as_posix()
    assert name == FACE or name.split("/")[0] in MAY_INCLUDE, f"{name}: say in this test what a new room may include"
    text = path.read_text(encoding="utf-8")
    assert not wrong_includes(name, text)
    assert all((SOURCE / one).is_file() for one in INCLUDE.findall(text)), "includes are written from csrc/ on"


def test_each_room_has_files_and_says_what_it_is() -> None:
    rooms = {path.name for path in SOURCE.iterdir() if path.is_dir()}
    assert rooms == set(MAY_INCLUDE)
    assert all((SOURCE / room / "README.md").is_file() for room in rooms)


def test_the_test_itself_can_fail() -> None:
    assert FILES
    assert wrong_includes("lattice/blur.h", '#include "base/owned.h"\n#include "densefield.h"\n') == []
    assert wrong_includes("lattice/blur.h", '#include "crf/widths.h"\n') == ["crf/widths.h"]
    assert wrong_includes("base/rows.h", '#include <cmath>\n  # include "window/octets.h"\n') == ["window/octets.h"]
    assert wrong_includes("crf/few_grid.h", '#include "few_labels.h"\n') == ["few_labels.h"]
    assert wrong_includes("densefield.h", '#include "base/guard.h"\n') == ["base/guard.h"]
