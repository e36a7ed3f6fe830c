"""Fuzz everything that reads a person's files: each damaged input is read, or refused by one line, in bounded memory.

    PYTHONPATH=src python tests/fuzz/run.py [TARGET ...] [--cases 1000] [--seed 0] [--keep FOLDER]

Prints a line a target; ends with 1 and the first inputs that went wrong when anything but `InputError` left, when the
message has several lines, when memory grew by more than the target's bound, or a case took too long. After a crash, the
last line of standard error names the case.
"""

from __future__ import annotations

import argparse
import faulthandler
import random
import resource
import shutil
import signal
import sys
import tempfile
import traceback
import warnings
from pathlib import Path
from types import FrameType
from typing import NoReturn

import torch
from targets import Target, targets

from densefield.checks import InputError

_SECONDS = 20  # of CPU time for one case


def main() -> int:
    """Run the targets asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*")
    parser.add_argument("--cases", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    faulthandler.enable()
    signal.signal(signal.SIGPROF, _late)
    known = targets()
    unknown = [name for name in asked.targets if name not in known]
    if unknown:
        parser.error(f"no target {unknown[0]!r}; wanted one of {', '.join(known)}")
    wrong = 0
    for name in asked.targets or known:
        read, refused, faults = fuzz(name, known[name], asked.cases, asked.seed, asked.keep)
        print(f"{name}: {read} read, {refused} refused, {len(faults)} wrong", flush=True)
        for fault in faults[:3]:
            print(fault, flush=True)
        wrong += len(faults)
    return 1 if wrong else 0


def fuzz(name: str, target: Target, cases: int, seed: int, keep: Path | None = None) -> tuple[int, int, list[str]]:
    """How many cases were read, how many refused in order, and what went wrong with the others."""
    read = refused = 0
    faults: list[str] = []
    for case in range(cases):
        rng = random.Random(f"{name} {seed} {case}")
        with tempfile.TemporaryDirectory() as folder:
            path = target.make(rng, Path(folder))
            before = _peak(reset=True)
            print(f"\r{name}, seed {seed}, case {case}  ", end="", file=sys.stderr, flush=True)
            fault = None
            signal.setitimer(signal.ITIMER_PROF, _SECONDS)
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    target.read(path)
                read += 1
            except InputError as error:
                refused += 1
                fault = f"several lines: {error}" if "\n" in str(error) else None
            except Exception:
                fault = traceback.format_exc(limit=-4)
            finally:
                signal.setitimer(signal.ITIMER_PROF, 0)
            if fault is None and _peak() - before > target.mebibytes:
                fault = f"memory grew by {_peak() - before} MiB, wanted at most {target.mebibytes}"
            if fault is not None:
                faults.append(f"  case {case}: {fault}")
                if keep is not None:
                    keep.mkdir(parents=True, exist_ok=True)
                    shutil.copy(path, keep / f"{name.replace(' ', '-')}-{seed}-{case}{path.suffix}")
    return read, refused, faults


def _late(number: int, frame: FrameType | None) -> NoReturn:
    raise TimeoutError(f"more than {_SECONDS} seconds of CPU time")


def _peak(reset: bool = False) -> int:
    """The most memory so far, in MiB; on Linux since the last reset, elsewhere since the process began."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 2**20
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM")) // 1024


if __name__ == "__main__":
    sys.exit(main())
