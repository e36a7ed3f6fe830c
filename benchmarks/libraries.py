"""Two builds of the native library in turn, kernel by kernel: of two compilers, or before and after a change.

    python benchmarks/libraries.py build-gcc build-clang [--only filter loss] [--rounds 15] [--parts] [--most 1.15]

Both are loaded into one process and run each case alternately, one thread, processor time. Prints, a case: the
shortest times of A and of B, B / A, the median of the rounds' ratios, and whether results have the same bits.
`--parts` adds the native calls of each case. DENSEFIELD_CPU=avx2 compares the kernels for a smaller CPU. Ends with
status 1 where a case's ratio, the lesser of the two, is over `--most`.
"""

from __future__ import annotations

import argparse
import ctypes
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from unittest import mock

import torch
from library_cases import Case, crf_cases, filter_cases, grid_and_lattice_cases

from densefield.ops import native


class Libraries:
    """Two libraries, of which one at a time serves densefield's ops; and the seconds of each of its calls."""

    def __init__(self, paths: list[Path]) -> None:
        files = [path / "densefield_native.so" if path.is_dir() else path for path in paths]
        self.loaded = [ctypes.CDLL(str(file.resolve())) for file in files]
        self.serving = 0
        self.spent: dict[str, float] = {}
        self._kernel = native.kernel

    def serve(self, index: int) -> None:
        self.serving = index
        self._kernel.cache_clear()

    def library(self) -> ctypes.CDLL:
        return self.loaded[self.serving]

    def kernel(self, name: str, types: tuple[type, ...]) -> Callable[..., None]:
        function = self._kernel(name, types)

        def call(*arguments: object) -> None:
            start = time.thread_time()
            function(*arguments)
            self.spent[name] = self.spent.get(name, 0.0) + time.thread_time() - start

        return call


def compare(libraries: Libraries, name: str, case: Case, rounds: int) -> float:
    """Run a case with both libraries in turn, print its lines, give its ratio."""
    results = []
    best = [float("inf")] * 2
    calls: list[dict[str, float]] = [{}, {}]
    ratios = []
    for index in (0, 1):
        libraries.serve(index)
        results.append(case())
    for turn in range(rounds):
        spent = [0.0, 0.0]
        for index in (turn % 2, 1 - turn % 2):
            libraries.serve(index)
            libraries.spent.clear()
            start = time.process_time()
            case()
            spent[index] = time.process_time() - start
            for call, seconds in libraries.spent.items():
                calls[index][call] = min(calls[index].get(call, seconds), seconds)
        best = [min(pair) for pair in zip(best, spent, strict=True)]
        ratios.append(spent[1] / spent[0])
    same = all(torch.equal(a, b) for a, b in zip(*results, strict=True))
    median = sorted(ratios)[rounds // 2]
    print_line(name, best, f"{median:9.3f}  {'same' if same else 'differ'}")
    for call, seconds in calls[0].items():
        print_line("  " + call.removeprefix("df_"), [seconds, calls[1][call]], "")
    return min(best[1] / best[0], median)


def print_line(name: str, seconds: list[float], rest: str) -> None:
    print(f"{name:28}{1e3 * seconds[0]:10.2f}{1e3 * seconds[1]:10.2f}{seconds[1] / seconds[0]:9.3f}{rest}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("libraries", nargs=2, type=Path, help="A and B: libraries, or folders that hold one")
    parser.add_argument("--only", nargs="+", default=[""], help="cases whose name holds one of these")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--size", type=int, default=161, help="of the filter's images")
    parser.add_argument("--parts", action="store_true", help="native calls, too")
    parser.add_argument("--most", type=float, default=float("inf"), help="the ratio over which to fail")
    options = parser.parse_args()
    torch.set_num_threads(1)
    libraries = Libraries(options.libraries)
    with ExitStack() as patches:
        patches.enter_context(mock.patch.object(native, "_library", libraries.library))
        if options.parts:
            patches.enter_context(mock.patch.object(native, "kernel", libraries.kernel))
        cases = {**filter_cases(options.size), **grid_and_lattice_cases(), **crf_cases()}
        print(f"{native.cpu():28}{'A, ms':>10}{'B, ms':>10}{'B / A':>9}{'median':>9}  bits", flush=True)
        chosen = [name for name in cases if any(part in name for part in options.only)]
        ratios = {name: compare(libraries, name, cases[name], options.rounds) for name in chosen}
    worst = max(ratios, key=lambda name: ratios[name])
    print(f"most: {ratios[worst]:.3f}, {worst}")
    sys.exit(int(ratios[worst] > options.most))


if __name__ == "__main__":
    main()
