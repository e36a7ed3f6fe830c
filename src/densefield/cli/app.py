"""The cyclopts application: the commands' names, and how their outcomes become exit statuses."""

from __future__ import annotations

import errno
import importlib
import importlib.metadata
import sys
from collections.abc import Sequence

import cyclopts
from rich.text import Text

from densefield.checks import InputError
from densefield.cli.terminal import plain_console, print_any_name

_COMMANDS = ("demo", "train", "evaluate", "predict", "affinity")


def application() -> cyclopts.App:
    """The `densefield` command with its subcommands."""
    app = cyclopts.App(
        name="densefield",
        help="Semantic segmentation with sharp boundaries, on any PyTorch model.",
        version=_version,
    )
    for name in _COMMANDS:
        app.command(getattr(importlib.import_module(f"densefield.cli.{name}"), name), name=name)
    refine = cyclopts.App(name="refine", help="Sharpen rough masks or scores with a dense CRF.")
    refine.default(importlib.import_module("densefield.cli.refine").refine)
    refine.command(importlib.import_module("densefield.cli.refine_search").search, name="search")
    app.command(refine)
    data = cyclopts.App(name="data", help="Look after a folder of images and masks.")
    data.command(importlib.import_module("densefield.cli.data").check, name="check")
    app.command(data)
    return app


def run(arguments: Sequence[str]) -> int:
    """Carry out one command line; the exit status is 0, 1 for a bug, 2 for a person's input, 130 or 143 interrupted."""
    print_any_name()
    try:
        result = application()(list(arguments), exit_on_error=False, result_action="return_value")
    except cyclopts.CycloptsError:
        return 2  # cyclopts has printed it
    except InputError as error:
        _fail(str(error))
        return 2
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS, errno.ENOENT):
            raise
        where = f"{error.filename}: " if error.filename else ""
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        _fail(f"{where}{error.strerror}; {'free some space' if full else 'check it'} or choose another place")
        return 2
    except KeyboardInterrupt:
        _fail("interrupted")
        return 130
    return result if isinstance(result, int) else 0


def _fail(message: str) -> None:
    sys.stdout.flush()
    one_line = " ".join(message.split())
    plain_console(stderr=True).print(Text.assemble(("error:", "bold red"), f" {one_line}"))


def _version() -> str:
    return importlib.metadata.version("densefield")
