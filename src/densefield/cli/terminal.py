"""The terminal: names of classes, files and folders are shown as they are, never read as markup or emoji."""

from __future__ import annotations

import sys

from rich.console import Console


def plain_console(*, stderr: bool = False, quiet: bool = False, soft_wrap: bool = True) -> Console:
    """A console for text that comes from outside: "car [parked]", "[/b]" and ":car:" are printed literally.

    Colors are given as `rich.text.Text`, not as markup.
    """
    return Console(stderr=stderr, quiet=quiet, markup=False, emoji=False, highlight=False, soft_wrap=soft_wrap)


def print_any_name() -> None:
    """Let standard output and error show what their encoding lacks as escapes, where they would raise.

    File names may hold any bytes, and not every locale knows every sign.
    """
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
