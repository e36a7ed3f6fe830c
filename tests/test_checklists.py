"""Nobody forgets a line of CONTRIBUTING's checklists: things are found in the tree, lines in the text."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from densefield.cli.commands import COMMANDS

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "densefield"

# The paths that each checklist's lines begin with; FILE, ROOM and OP stand for names.
CHECKLISTS = {
    name: re.findall(r"^- `(\S+)`:", lines, re.MULTILINE)
    for name, lines in re.findall(
        r"^\*\*A (network|data set|loss|kernel|command)\*\*(.*?)(?=^\*\*|\Z)",
        (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"),
        re.MULTILINE | re.DOTALL,
    )
}


class Thing(NamedTuple):
    """What has been added: by which of its `names` shared files may know it, and what stands for FILE, ROOM and OP."""

    checklist: str
    names: tuple[str, ...]
    places: dict[str, str]


def forgotten(thing: Thing) -> list[str]:
    """The lines of its checklist that are not done: a file of its own is missing, or a shared one does not name it."""
    return [line for line in CHECKLISTS[thing.checklist] if not _done(line, thing)]


def _done(line: str, thing: Thing) -> bool:
    filled = re.sub("FILE|ROOM|OP", lambda found: thing.places[found[0]], line)
    if filled != line:
        return (ROOT / filled).is_file()
    return any(_named(file, thing) for file in ((ROOT / line).glob("*.md") if line.endswith("/") else [ROOT / line]))


def _named(file: Path, thing: Thing) -> bool:
    either = "|".join(map(re.escape, thing.names))
    return re.search(rf"(?<!\w)({either})(?!\w)", file.read_text(encoding="utf-8")) is not None


def files(room: str) -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted((SOURCE / room).glob("*.py")):
        if path.name != "__init__.py":
            yield path, ast.parse(path.read_text(encoding="utf-8"))


def described(tree: ast.Module) -> Iterator[tuple[str, ...]]:
    """The name of each thing that `@described` marks, and its kind where that is another."""
    for node in tree.body:
        for mark in getattr(node, "decorator_list", ()):
            if isinstance(mark, ast.Call) and ast.unparse(mark.func) == "described":
                yield (node.name, *(str(ast.literal_eval(kind)) for kind in mark.args))


def built(checklist: str, room: str) -> Iterator[Thing]:
    for path, tree in files(room):
        for names in described(tree):
            yield Thing(checklist, names, {"FILE": path.stem})


def losses() -> Iterator[Thing]:
    for path, tree in files("losses"):
        for node in tree.body:
            if isinstance(node, ast.FunctionDef) and [each.arg for each in node.args.args[:2]] == ["scores", "target"]:
                yield Thing("loss", (node.name,), {"FILE": path.stem})


def kernels() -> Iterator[Thing]:
    """Each job of the header, with the C function that takes it and the op that fills it in."""
    c_files = [(path, path.read_text(encoding="utf-8")) for path in sorted((ROOT / "csrc").glob("*/*.cpp"))]
    ops = [(path, path.read_text(encoding="utf-8")) for path in sorted((SOURCE / "ops").glob("*/*.py"))]
    for job in re.findall(r"^\} (df_\w+_job);", (ROOT / "csrc" / "densefield.h").read_text(encoding="utf-8"), re.M):
        structure = "".join(word.capitalize() for word in job.split("_")[1:])
        c = next((path for path, text in c_files if re.search(rf"^extern.*\(const {job}\*", text, re.M)), Path("?/?"))
        op = next((path for path, text in ops if f"class {structure}(" in text), Path("?/?"))
        places = {"ROOM": c.parent.name, "FILE": c.stem, "OP": op.parent.name}
        yield Thing("kernel", (job, structure, f"{c.parent.name}/{c.stem}"), places)


def commands() -> Iterator[Thing]:
    """Each file of cli/ that says in its first line which command it is."""
    for path, tree in files("cli"):
        if found := re.match("`densefield ([a-z ]+)`:", ast.get_docstring(tree) or ""):
            yield Thing("command", (f'"{found[1]}"', f"densefield {found[1]}"), {"FILE": path.stem})


THINGS = [
    *built("network", "networks"),
    *built("data set", "data"),
    *losses(),
    *kernels(),
    *commands(),
]


@pytest.mark.parametrize("thing", THINGS, ids=lambda thing: f"{thing.checklist}-{thing.names[-1]}")
def test_no_line_of_a_checklist_is_forgotten(thing: Thing) -> None:
    assert forgotten(thing) == []


def test_every_checklist_has_lines_and_things() -> None:
    assert {thing.checklist for thing in THINGS} == set(CHECKLISTS)
    assert len(CHECKLISTS) == 5
    assert all(len(lines) >= 4 for lines in CHECKLISTS.values())


@pytest.mark.parametrize("checklist", CHECKLISTS)
def test_of_what_is_not_there_every_line_is_reported(checklist: str) -> None:
    unknown = Thing(checklist, ("no_such_name",), dict.fromkeys(("FILE", "ROOM", "OP"), "nowhere"))
    assert forgotten(unknown) == CHECKLISTS[checklist]


def test_one_forgotten_line_is_reported_alone() -> None:
    assert forgotten(Thing("network", ("unet",), {"FILE": "unet"})) == []
    assert forgotten(Thing("network", ("unet",), {"FILE": "__init__"})) == ["tests/networks/test_FILE.py"]
    assert forgotten(Thing("network", ("ClassicUpsampling",), {"FILE": "unet"})) == ["docs/networks.md"]


@pytest.mark.parametrize("thing", list(built("network", "networks")), ids=lambda thing: thing.names[-1])
def test_the_parameters_of_every_network_are_counted(thing: Thing) -> None:
    test = ROOT / "tests" / "networks" / f"test_{thing.places['FILE']}.py"
    assert "numel()" in test.read_text(encoding="utf-8")
    assert _named(test, thing)


@pytest.mark.parametrize("thing", list(built("network", "networks")), ids=lambda thing: thing.names[-1])
def test_every_network_stands_in_the_table_of_its_page(thing: Thing) -> None:
    page = (ROOT / "docs" / "networks.md").read_text(encoding="utf-8")
    table = page.partition("| function | paper |")[2].partition("\n\n")[0]
    assert any(f"`{name}`" in table for name in thing.names)


@pytest.mark.parametrize(("room", "base"), [("networks", r"nn\.Module"), ("data", r"Dataset\[")])
def test_what_could_be_a_kind_is_one_or_serves_one(room: str, base: str) -> None:
    texts = {path: path.read_text(encoding="utf-8") for path, _ in files(room)}
    for path, text in texts.items():
        serves = any(f"from densefield.{room}.{path.stem} import" in other for other in texts.values())
        assert "@described" in text or serves or not re.search(rf"^class \w+\({base}", text, re.MULTILINE), path


def test_every_command_of_the_table_says_its_name_in_its_file() -> None:
    places = {thing.names[0].strip('"'): thing.places["FILE"] for thing in THINGS if thing.checklist == "command"}
    assert places == {name: command.place.partition(":")[0] for name, command in COMMANDS.items()}
