"""Where the time of the fused mean field goes: each phase, its bytes, and the ratio to a memory copy of as many."""

from __future__ import annotations

import time
from dataclasses import replace

import torch
from crf_scene import WIDTHS, network_like_scores, photograph, terms_of
from torch import Tensor

from densefield.ops.mean_field import LatticeTerm, mean_field
from densefield.ops.mean_field.native import FieldCall, layout
from densefield.ops.permutohedral.op import build_item


def copy_gigabytes(threads: int) -> float:
    """Give the bytes a second that a memory copy reads and writes."""
    torch.set_num_threads(threads)
    source = torch.ones(32 << 20)
    target = torch.empty_like(source)
    times = []
    for _ in range(6):
        start = time.perf_counter()
        target.copy_(source)
        times.append(time.perf_counter() - start)
    return 2 * source.nbytes / min(times) / 1e9


PHASES = ("begin", "splat", "blur", "slice", "grid lines", "grid columns", "softmax", "end")


def megabytes(case: str, labels: int, rows: int) -> dict[str, float]:
    """Give what each phase of one iteration has to read and write, in MB; `begin` and `end` once.

    A row that is read several times by neighbouring pixels or lattice points counts once: caches hold it.
    """
    height, width = photograph(case).shape[:2]
    points, corners = height * width, 6
    _, stride, kind = layout(labels, True)
    indices = points * corners * (4 + 4)  # of rows or pixels, and weights
    few = labels <= 4
    stride = 2 if labels <= 2 else stride
    line = points * stride * kind.itemsize  # Q, or energies
    table = rows * stride * (4 if few else kind.itemsize)
    links = rows * corners * 8
    return {
        # Few labels: each pixel adds to 8 tables, else each lattice point gathers; the caches hold indices read twice.
        "splat": (8 * 3 * table + table if few else indices + line + table) / 1e6,
        "blur": (links + corners * 2 * table) / 1e6,
        "slice": (indices + table) / 1e6,
        "grid lines": line / 2 / 1e6,
        "grid columns": line / 2 / 1e6,
        "softmax": (line if few else 2 * line) / 1e6,
        "begin": (points * labels * 4 + (2 if few else 3) * line + (0 if few else 4 * indices)) / 1e6,
        "end": 2 * points * labels * 4 / 1e6,
    }


def print_phases(case: str, iterations: int = 10) -> None:
    """Time the phases of the fused loop and of what comes before it, one thread."""
    copy = copy_gigabytes(1)
    image = photograph(case)
    labels = 2 if case == "1080p" else 21
    scores = torch.log_softmax(network_like_scores(labels, *image.shape[:2]), 1)
    grid, term = terms_of(image, *WIDTHS[case])
    assert isinstance(term, LatticeTerm)
    build, whole = 1e9, 1e9
    best = torch.full((len(PHASES),), 1e9, dtype=torch.float64)
    run = FieldCall.run
    for _ in range(5):
        seconds = torch.zeros(len(PHASES), dtype=torch.float64)

        def timed(call: FieldCall, name: str, sums: Tensor = seconds) -> None:
            call.point("seconds", sums, torch.float64)
            run(call, name)

        start = time.perf_counter()
        lattice = build_item(term.features, widths=term.widths, entries=labels > 4)
        build = min(build, time.perf_counter() - start)
        setattr(FieldCall, "run", timed)  # noqa: B010 - the loop, asked for its phases
        start = time.perf_counter()
        mean_field(scores, [grid, replace(term, lattice=lattice)], iterations=iterations)
        whole = min(whole, time.perf_counter() - start)
        setattr(FieldCall, "run", run)  # noqa: B010
        best = torch.minimum(best, seconds)
    moved = megabytes(case, labels, lattice.rows)
    print(f"  where it goes, one thread ({copy:.1f} GB/s copied): build {1e3 * build:.1f} ms")
    total = 0.0
    for name, found in zip(PHASES, best.tolist(), strict=True):
        once = name in ("begin", "end")
        spent = found if once else found / iterations
        total += 0.0 if once else spent
        ratio = spent / (moved[name] / 1e3 / copy)
        note = "  (once)" if once else ""
        print(f"    {name:12} {1e3 * spent:6.2f} ms  {moved[name]:6.1f} MB  {ratio:4.1f} x a copy{note}")
    every = sum(moved[name] for name in PHASES if name not in ("begin", "end"))
    print(f"    an iteration {1e3 * total:6.2f} ms  {every:6.1f} MB  {total / (every / 1e3 / copy):4.1f} x a copy")
    print(f"    normaliser, checks, memory {1e3 * (whole - float(best.sum())):.1f} ms (once)")
