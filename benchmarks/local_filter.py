"""The affinity filter and the pair loss against plain torch: CPU time, interleaved, and peak memory.

    python benchmarks/local_filter.py [--size 321] [--size 41] [--threads 1] [--rounds 3] [--phases] [--two-threads]

The rival is the best pure-torch formulation found: half of the offsets, each a shift of views, in place where torch
can, with hand-written gradients (`densefield.ops.local_filter.plain`). An unfold of the patches needs 6 to 8 GB and is
slower; `torch.compile` of the 40 shifts did not finish within five minutes. The floor is what the multiply-adds,
distances and slopes alone take at the rates that one core reaches on registers. Memory is the growth of the peak.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import torch
from torch import Tensor

from densefield.losses import embedding_loss
from densefield.ops import native
from densefield.ops.local_filter import Window, affinity_filter

CLASSES, DEPTH, SIDE = 21, 64, 9

# Operations a second on registers, one core, AVX-512 at 3.6 GHz: s += a * b, s += |a - b|, w * sign(a - b) added to one
# sum and taken from another, and the same with weights of -1, 0 and 1.
PRODUCTS, DISTANCES, SLOPES, SIGNS = 57.9e9, 37.1e9, 22.5e9, 24.5e9


def cases(size: int) -> dict[str, Callable[[], object]]:
    torch.manual_seed(0)
    scores, embeddings = torch.randn(1, CLASSES, size, size), torch.rand(1, DEPTH, size, size)
    scale, gradient = torch.tensor(0.3), torch.randn(1, CLASSES, size, size)
    blocks = torch.randint(0, CLASSES, (1, size // 8 + 1, size // 8 + 1))
    target = blocks.repeat_interleave(8, 1).repeat_interleave(8, 2)[:, :size, :size].contiguous()

    def forward(iterations: int) -> Tensor:
        with torch.no_grad():
            return affinity_filter(scores, embeddings, scale, iterations=iterations)

    def both(iterations: int) -> None:
        tensors = [x.detach().requires_grad_() for x in (scores, embeddings, scale)]
        affinity_filter(*tensors, iterations=iterations).backward(gradient)

    def loss() -> None:
        learned = embeddings.detach().requires_grad_()
        embedding_loss(learned, target).backward()

    return {
        "forward x1": lambda: forward(1),
        "forward x7": lambda: forward(7),
        "forward+backward x1": lambda: both(1),
        "forward+backward x7": lambda: both(7),
        "pair loss forward+backward": loss,
    }


def floors(size: int) -> dict[str, float]:
    """The times of arithmetic alone, in ms."""
    window = Window(1, size, size, SIDE, 1)
    outside = float(window.outside(torch.device("cpu"), torch.float64).sum())
    around = SIDE**2 * size**2 - outside  # ordered pairs, centres included
    pairs = (around - size**2) / 2 * DEPTH
    masks = pairs / DISTANCES * 1e3
    step = around * CLASSES / PRODUCTS * 1e3  # of the filter; the gradient of masks takes as many
    gradient = pairs / SLOPES * 1e3
    return {
        "forward x1": masks + step,
        "forward x7": masks + 7 * step,
        "forward+backward x1": masks + 3 * step + gradient,
        "forward+backward x7": masks + 21 * step + gradient,
        "pair loss forward+backward": masks + pairs / SIGNS * 1e3,
    }


def cpu_time(function: Callable[[], object], repeats: int) -> float:
    best = float("inf")
    for _ in range(repeats):
        start = time.process_time()
        function()
        best = min(best, time.process_time() - start)
    return best * 1e3


def compare(size: int, rounds: int, only: str | None) -> None:
    threads = torch.get_num_threads()
    print(f"{CLASSES} classes, {DEPTH} channels, {SIDE} x {SIDE}, {size} x {size}, {threads} thread(s), {native.cpu()}")
    print(f"{'':28s}{'ours, ms':>10s}{'torch, ms':>11s}{'ratio':>8s}{'over the floor':>17s}")
    for name, function in cases(size).items():
        if only is not None and only not in name:
            continue
        ours, theirs = float("inf"), float("inf")
        function()
        for _ in range(rounds):
            ours = min(ours, cpu_time(function, 3 if size > 100 else 20))
            with mock.patch.object(native, "available", return_value=False):
                theirs = min(theirs, cpu_time(function, 1 if size > 100 else 5))
        print(
            f"{name:28s}{ours:10.2f}{theirs:11.1f}{theirs / ours:8.1f}{ours / floors(size)[name]:15.1f} x", flush=True
        )


def phases(size: int) -> None:
    """CPU time of each kernel, in ms: of the best of several calls."""
    spent: dict[str, float] = {}
    kernel = native.kernel

    def timed(name: str, types: tuple[type, ...]) -> Callable[..., None]:
        function = kernel(name, types)

        def call(*arguments: object) -> None:
            start = time.process_time()
            function(*arguments)
            spent[name[3:]] = spent.get(name[3:], 0.0) + (time.process_time() - start) * 1e3

        return call

    with mock.patch.object(native, "kernel", timed):
        for name, function in cases(size).items():
            best, parts = float("inf"), {}
            for _ in range(10):
                spent.clear()
                whole = cpu_time(function, 1)
                if whole < best:
                    best, parts = whole, dict(spent)
            parts["the rest"] = best - sum(parts.values())
            print(
                f"{name:28s}{best:8.2f} = " + " + ".join(f"{part} {ms:.2f}" for part, ms in parts.items()), flush=True
            )


def peak_growth(size: int, name: str) -> None:
    function = cases(size)[name]
    cases(5)[name]()
    before = status("VmRSS")
    function()
    print(f"{name:28s}{status('VmHWM') - before:8.0f} MB over the inputs", flush=True)


def status(name: str) -> float:
    """A line of this process's memory, in MB (Linux)."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    (line,) = [line for line in lines if line.startswith(name + ":")]
    return int(line.split()[1]) * 1024 / 1e6


def wall_times(size: int) -> None:
    print(f"wall time, ms, {size} x {size}: one thread, two threads, ratio")
    for name, function in cases(size).items():
        times = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            function()
            best = float("inf")
            for _ in range(9):
                start = time.perf_counter()
                function()
                best = min(best, time.perf_counter() - start)
            times.append(best * 1e3)
        print(f"{name:28s}{times[0]:10.2f}{times[1]:10.2f}{times[0] / times[1]:8.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, action="append")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", help="cases whose name holds this")
    parser.add_argument("--two-threads", action="store_true", help="wall times of one and two threads instead")
    parser.add_argument("--phases", action="store_true", help="CPU times of the kernels instead")
    parser.add_argument("--memory", metavar="CASE", help="print the growth of the peak by one case, and end")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for size in options.size or [321, 41]:
        if options.memory is not None:
            peak_growth(size, options.memory)
        elif options.phases:
            phases(size)
        elif options.two_threads:
            wall_times(size)
        else:
            compare(size, options.rounds, options.only)
            for name in cases(5) if size > 100 and options.only is None else ():
                subprocess.run([sys.executable, __file__, "--size", str(size), "--memory", name], check=True)


if __name__ == "__main__":
    main()
