"""CPU-seconds that the command line takes before it works: `--version`, `--help`, and the help of every command.

Each is run several times in a process of its own; the least is printed, beside Python's own start.
"""

from __future__ import annotations

import resource
import subprocess
import sys

from densefield.cli.commands import COMMANDS

REPEATS = 5


def cpu_seconds(*command: str) -> float:
    """User and system time of the quickest of several runs."""
    least = float("inf")
    for _ in range(REPEATS):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *command], check=True, stdout=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        least = min(least, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return least


def main() -> None:
    print(f"{'Python alone':28}{cpu_seconds('-c', 'pass'):6.3f} s")
    for arguments in ("--version", "--help", *(f"{command} --help" for command in COMMANDS)):
        print(f"{'densefield ' + arguments:28}{cpu_seconds('-m', 'densefield', *arguments.split()):6.3f} s")


if __name__ == "__main__":
    main()
