"""The cyclopts application: the commands' names, and how their outcomes become exit statuses."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

import cyclopts
from rich.text import Text

from densefield import __version__
from densefield.cli.commands import COMMANDS
from densefield.cli.failures import of_a_command
from densefield.cli.terminal import plain_console, print_any_name

_BEFORE_FIELDS = {
    "train": "the recipe: densefield train RECIPE ...",
    "weights": "the file: densefield weights import FILE ...",
}


def application(arguments: Sequence[str] = ()) -> cyclopts.App:
    """The `densefield` command with its subcommands; only the one that `arguments` name is imported, when it runs."""
    app = cyclopts.App(
        name="densefield",
        help="Semantic segmentation with sharp boundaries, on any PyTorch model.",
        version=__version__,
    )
    refine = cyclopts.App(name="refine", help=None if "refine" in arguments else COMMANDS["refine"].summary)
    if "refine" in arguments:  # a default command, which cyclopts cannot put off
        refine.default(importlib.import_module("densefield.cli.refine").refine)
    data = cyclopts.App(name="data", help="Look after a folder of images and masks.")
    weights = cyclopts.App(name="weights", help="Bring in the weights that others have released.")
    for full, command in COMMANDS.items():
        if full == "refine":
            app.command(refine)
            continue
        parent, _, name = full.rpartition(" ")
        # The named command explains itself at length.
        {"": app, "refine": refine, "data": data, "weights": weights}[parent].command(
            f"densefield.cli.{command.place}", name=name, help=None if name in arguments else command.summary
        )
    app.command(data)
    app.command(weights)
    return app


def run(arguments: Sequence[str]) -> int:
    """Carry out one command line; the exit status is 0, 1 for a bug, 2 for a person's input, 130 or 143 interrupted."""
    print_any_name()
    try:
        result = application(arguments)(list(arguments), exit_on_error=False, result_action="return_value")
    except cyclopts.CycloptsError as error:  # cyclopts has printed it
        flag = error.token.value if isinstance(error, cyclopts.UnknownOptionError) else ""
        if "." in flag and arguments[0] in _BEFORE_FIELDS:
            _fail(f"{flag}: dotted flags stand behind {_BEFORE_FIELDS[arguments[0]]}")
        return 2
    except Exception as error:
        _fail(of_a_command(error))
        return 2
    except KeyboardInterrupt:
        _fail("interrupted")
        return 130
    return result if isinstance(result, int) else 0


def _fail(message: str) -> None:
    sys.stdout.flush()
    one_line = " ".join(message.split())
    plain_console(stderr=True).print(Text.assemble(("error:", "bold red"), f" {one_line}"))
