"""docs/architecture.md names files that are there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
NAMED = re.findall(
    r"`([a-z_/]+/|[a-z_/]+\.(?:py|h|cpp))`", (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
)


def test_every_file_and_folder_of_the_newcomers_page_exists() -> None:
    assert len(NAMED) > 30
    sources = {path.relative_to(ROOT / "src" / "densefield").as_posix() for path in (ROOT / "src").rglob("*.py")}
    for name in NAMED:
        inside = any(source == name or source.endswith(f"/{name}") or source.startswith(name) for source in sources)
        assert inside or (ROOT / name).exists(), name
