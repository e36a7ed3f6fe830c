"""Who may import whom: read from the source, so that an import inside a function counts too."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "densefield"

GROUND = {
    "checks",
    "files",
    "yaml_files",
    "classes",
    "images",
    "mirroring",
    "devices",
    "derivatives",
    "built",
    "optional",
    "protocols",
    "draw",
}
STEPS = {"ops", "networks", "weights", "refine", "losses", "metrics", "explain", "data"}

# A room may import itself, and what is listed here; nothing runs back up.
MAY_IMPORT: dict[str, set[str]] = {
    "ops": {"checks", "derivatives"},
    "networks": GROUND,
    "weights": GROUND,
    "metrics": GROUND,
    "data": GROUND,
    "losses": GROUND | {"ops"},
    "refine": GROUND | {"ops"},
    "explain": GROUND | {"ops"},
    "report": GROUND | {"metrics"},
    "training": GROUND | {"metrics", "weights"},
    "segmenter": GROUND | {"networks", "weights", "refine", "explain"},
    "runs": GROUND | STEPS | {"segmenter", "training", "report"},
    "recipes": GROUND | STEPS | {"training", "runs"},
    "cli": GROUND | STEPS | {"segmenter", "training", "report", "runs", "recipes", "app", "__version__"},
    "__main__": {"cli"},
    "app": GROUND | STEPS | {"segmenter", "report", "runs", "recipes"},
    **dict.fromkeys(GROUND, GROUND),
}

FILES = sorted(path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py")


def room(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_room_imports_only_what_lies_below_it(path: Path) -> None:
    here = room(path)
    assert here in MAY_IMPORT, f"{here} is a new room: say in this test what it may import"
    for name in imported(ast.parse(path.read_text(encoding="utf-8"))):
        parts = name.split(".")
        if parts[0] == "densefield" and len(parts) > 1 and parts[1] != here:
            assert parts[1] in MAY_IMPORT[here], f"{here} may not import densefield.{parts[1]}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_only_ops_loads_native_code_or_names_triton(path: Path) -> None:
    names = {name.split(".")[0] for name in imported(ast.parse(path.read_text(encoding="utf-8")))}
    assert room(path) == "ops" or not names & {"ctypes", "cffi", "triton"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_lightning_comes_through_one_door(path: Path) -> None:
    names = {name.split(".")[0] for name in imported(ast.parse(path.read_text(encoding="utf-8")))}
    assert path == SOURCE / "training" / "lightning.py" or "pytorch_lightning" not in names


def test_the_test_itself_can_fail() -> None:
    tree = ast.parse("def f():\n    from densefield.cli import main\n")
    assert list(imported(tree)) == ["densefield.cli.main"]
    assert "cli" not in MAY_IMPORT["ops"]


ROOMS = {room(path) for path in FILES} - {"__main__"}  # which only calls cli


def floor(name: str) -> int:
    """How many rooms stand below, one upon another; what all stand on is the ground."""
    below = (MAY_IMPORT[name] & ROOMS) - GROUND - {name}
    return 0 if name in GROUND else 1 + max((floor(other) for other in below), default=0)


def test_the_house_has_six_floors_and_no_circle() -> None:
    assert max(floor(name) for name in ROOMS) == 6
