"""The command line: one file a command; a person's mistake is one line and exit status 2."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Entry point of the `densefield` command."""
    _open_closed_streams()
    if sys.argv[1:] == ["--version"]:  # scripts ask for it often: nothing else is imported
        from densefield import __version__

        print(__version__)
        return
    from densefield.cli.commands import COMMANDS

    command = COMMANDS.get(sys.argv[1]) if len(sys.argv) > 1 else None
    if command and command.slow and sys.stderr.isatty() and "--help" not in sys.argv:
        # torch and Lightning take seconds to import; a person should see at once that something is going on.
        print(f"densefield {sys.argv[1]} ...", file=sys.stderr, flush=True)
    from densefield.cli.app import run

    sys.exit(run(sys.argv[1:]))


def _open_closed_streams() -> None:
    """A scheduler may have closed standard input or output: then nothing is read, and what is written is lost."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115
