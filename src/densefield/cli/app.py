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
from densefield.cli.terminal import plain_console, print_any_name

# Each command's place and first line, so that the list of commands is shown without importing one.
COMMANDS = {
    "demo": (
        "demo:demo",
        "Train a coarse network on embedded scenes, alone and with a dense CRF, and report both: minutes, offline.",
    ),
    "train": ("train:train", "Train RECIPE: a built-in name or a YAML file."),
    "evaluate": (
        "evaluate:evaluate",
        "Measure RUN on one split of its data: one confusion matrix summed over all images.",
    ),
    "predict": (
        "predict:predict",
        "Segment images of any size: OUT/NAME.png holds each pixel's class as a palette PNG.",
    ),
    "affinity": (
        "affinity:affinity",
        "Draw a pixel's patch, its embeddings, its mask in the embedding filter, and the mask of its colors alone.",
    ),
    "refine": ("refine:refine", "Sharpen rough masks or scores with a dense CRF."),
    "refine search": (
        "refine_search:search",
        "Try settings of the dense CRF on labelled images and rank them by mean IoU over all pixels together.",
    ),
    "kinds": (
        "kinds:kinds",
        "List the kinds that recipes can name, or the keys of one: what each takes, its bounds and its default.",
    ),
    "data check": (
        "data:check",
        "Check a folder of images and masks before training; ends with 0 when all is well, with 2 when it is not.",
    ),
}


def application(arguments: Sequence[str] = ()) -> cyclopts.App:
    """The `densefield` command with its subcommands; only the one that `arguments` name is imported, when it runs."""
    app = cyclopts.App(
        name="densefield",
        help="Semantic segmentation with sharp boundaries, on any PyTorch model.",
        version=__version__,
    )
    refine = cyclopts.App(name="refine", help=COMMANDS["refine"][1])
    if "refine" in arguments:  # a default command, which cyclopts cannot put off
        refine.default(importlib.import_module("densefield.cli.refine").refine)
    data = cyclopts.App(name="data", help="Look after a folder of images and masks.")
    for full, (place, summary) in COMMANDS.items():
        if full == "refine":
            app.command(refine)
            continue
        parent, _, name = full.rpartition(" ")
        # The named command explains itself at length.
        {"": app, "refine": refine, "data": data}[parent].command(
            f"densefield.cli.{place}", name=name, help=None if name in arguments else summary
        )
    app.command(data)
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
