"""The command line: one file a command; a person's mistake is one line and exit status 2."""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point of the `densefield` command."""
    if sys.argv[1:] == ["--version"]:  # scripts ask for it often: nothing else is imported
        from densefield import __version__

        print(__version__)
        return
    if (
        len(sys.argv) > 1
        and sys.stderr.isatty()
        and sys.argv[1] in ("train", "evaluate", "predict", "affinity")
        and "--help" not in sys.argv
    ):
        # torch and Lightning take seconds to import; a person should see at once that something is going on.
        print(f"densefield {sys.argv[1]} ...", file=sys.stderr, flush=True)
    from densefield.cli.app import run

    sys.exit(run(sys.argv[1:]))
