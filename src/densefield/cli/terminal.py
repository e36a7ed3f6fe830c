"""The terminal: names of classes, files and folders are shown as they are, never read as markup or emoji."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import TypeVar

from rich.console import Console, JustifyMethod
from rich.table import Table

T = TypeVar("T")


def plain_console(*, stderr: bool = False, quiet: bool = False, soft_wrap: bool = True) -> Console:
    """A console for text that comes from outside: "car [parked]", "[/b]" and ":car:" are printed literally.

    Colors are given as `rich.text.Text`, not as markup.
    """
    return Console(stderr=stderr, quiet=quiet, markup=False, emoji=False, highlight=False, soft_wrap=soft_wrap)


def table(*titles: str, title: str | None = None, justify: JustifyMethod = "right") -> Table:
    """A table whose first column is text; where the terminal is narrow, what does not fit is folded, never cut."""
    laid = Table(box=None, title=title, title_justify="left")
    for number, name in enumerate(titles):
        laid.add_column(name, justify=justify if number else "left", overflow="fold")
    return laid


def tracked(items: Iterable[T], title: str, total: int) -> Iterator[T]:
    """The items one by one, with a progress bar where standard error is a terminal and there are several."""
    console = plain_console(stderr=True)
    if total < 2 or not console.is_terminal:
        yield from items
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(title, markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        yield from progress.track(items, total=total)


def print_any_name() -> None:
    """Let standard output and error show what their encoding lacks as escapes, where they would raise.

    File names may hold any bytes, and not every locale knows every sign.
    """
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
