"""The command line: one file a command; a person's mistake is one line and exit status 2."""

from __future__ import annotations

import sys


def main() -> None:
    """Entry point of the `densefield` command."""
    if (
        len(sys.argv) > 1
        and sys.stderr.isatty()
        and sys.argv[1] in ("demo", "train", "evaluate", "predict", "affinity")
    ):
        # torch and Lightning take seconds to import; a person should see at once that something is going on.
        print(f"densefield {sys.argv[1]} ...", file=sys.stderr, flush=True)
    from densefield.cli.app import run

    sys.exit(run(sys.argv[1:]))
