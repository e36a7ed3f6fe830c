"""What the command line imports before it works: nothing that a person would wait for. No test measures time."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest

from densefield import __version__
from densefield.cli.commands import COMMANDS

HEAVY = {"torch", "pytorch_lightning", "torchvision", "skimage", "sklearn", "scipy", "pydantic", "matplotlib"}
PICTURES = {"numpy", "cv2", "PIL", "yaml"}


def loaded(*arguments: str) -> tuple[set[str], str]:
    """The top-level modules that a command line has imported when it ends, and what it printed."""
    code = (
        "import atexit, sys\n"
        "atexit.register(lambda: print(' '.join({name.split('.')[0] for name in sys.modules}), file=sys.stderr))\n"
        f"sys.argv = ['densefield', *{list(arguments)!r}]\n"
        "from densefield.cli import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return set(done.stderr.split()), done.stdout


def test_the_version_imports_nothing() -> None:
    modules, text = loaded("--version")
    assert text.strip() == __version__
    assert not modules & (HEAVY | PICTURES | {"cyclopts", "rich", "email"})  # email: importlib.metadata reads by it


def test_the_list_of_commands_imports_no_command() -> None:
    modules, text = loaded("--help")
    assert not modules & (HEAVY | PICTURES)
    for name in COMMANDS:
        assert name.split()[0] in text


@pytest.mark.parametrize("command", sorted({*COMMANDS, "data"}))
def test_help_of_every_command_imports_neither_torch_nor_pictures(command: str) -> None:
    modules, text = loaded(*command.split(), "--help")
    assert f"densefield {command}" in text
    assert not modules & (HEAVY | PICTURES)


@pytest.mark.parametrize("command", sorted(set(COMMANDS) - {"refine"}))  # whose line stands for two commands
def test_the_list_shows_each_command_s_own_first_line(command: str) -> None:
    module, _, name = COMMANDS[command].place.partition(":")
    text = getattr(importlib.import_module(f"densefield.cli.{module}"), name).__doc__
    assert " ".join(text.split("\n\n")[0].split()) == COMMANDS[command].summary


def test_the_package_runs_as_a_module() -> None:
    command = [sys.executable, "-m", "densefield", "--version"]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip() == __version__
