"""The cyclopts application: the commands' names, and how their outcomes become exit statuses."""

from __future__ import annotations

import errno
import importlib
import sys
from collections.abc import Sequence

import cyclopts
from rich.text import Text

from densefield import __version__
from densefield.checks import InputError
from densefield.cli.commands import COMMANDS
from densefield.cli.terminal import plain_console, print_any_name


def application(arguments: Sequence[str] = ()) -> cyclopts.App:
    """The `densefield` command with its subcommands; only the one that `arguments` name is imported, when it runs."""
    app = cyclopts.App(
        name="densefield",
        help="Semantic segmentation with sharp boundaries, on any PyTorch model.",
        version=__version__,
    )
    refine = cyclopts.App(name="refine", help=COMMANDS["refine"].summary)
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
    except (MemoryError, RuntimeError) as error:
        if not _out_of_memory(error):
            raise
        # A loader worker's comes with its traceback, the message last.
        last = (str(error).strip().splitlines() or ["no more to be had"])[-1]
        _fail(f"out of memory ({last[:120]}); try a smaller batch_size, crop or tile, or fewer --workers")
        return 2
    except KeyboardInterrupt:
        _fail("interrupted")
        return 130
    return result if isinstance(result, int) else 0


def _out_of_memory(error: Exception) -> bool:
    """Whether Python, NumPy or torch (whose CPU allocator raises plain RuntimeErrors) found no memory."""
    words = ("out of memory", "can't allocate memory", "not enough memory")
    return isinstance(error, MemoryError) or any(word in str(error) for word in words)


def _fail(message: str) -> None:
    sys.stdout.flush()
    one_line = " ".join(message.split())
    plain_console(stderr=True).print(Text.assemble(("error:", "bold red"), f" {one_line}"))
