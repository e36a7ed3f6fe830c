"""The dense CRF beside a plain restatement of the textbook lattice and, where it is installed, pydensecrf.

All ways run in turn on the same photograph and network-like scores, building included; the shortest times count. With
one thread processor time is taken, so that other work on the machine does not lengthen it. Prints, a case: times,
ratios, peak memory over what was in use before (each way in a process of its own, Linux), what pruning changes, and
where our time goes: bytes by phase and the ratio to a memory copy of as many. The textbook is compiled from
textbook_crf.cpp by `c++ -O3`. It also counts the marginals that are denormal numbers, and takes our times once more
where kernels compute with those (DENSEFIELD_DENORMALS=keep).

Run: python benchmarks/dense_crf.py [--threads 1 2] [--cases 80x13 49x5 67x3 1080p] [--times-only] [--backward]
"""

from __future__ import annotations

import argparse
import ctypes
import importlib
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from crf_phases import print_phases
from crf_scene import WIDTHS, network_like_scores, photograph, terms_of
from torch import Tensor

from densefield.ops.mean_field import LatticeTerm, mean_field
from densefield.ops.permutohedral import build_lattice
from densefield.refine import BilateralKernel, DenseCRF, SpatialKernel


def textbook() -> Callable[[Tensor, np.ndarray, float, float, int], np.ndarray]:
    """Compile the textbook CRF and give it as a function of unary (1, C, H, W), image, alpha, beta, iterations."""
    folder = tempfile.mkdtemp()
    library = Path(folder) / "textbook_crf.so"
    source = Path(__file__).with_name("textbook_crf.cpp")
    subprocess.run(["c++", "-O3", "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    function = ctypes.CDLL(str(library)).textbook_crf
    number = ctypes.c_float

    def run(unary: Tensor, image: np.ndarray, alpha: float, beta: float, iterations: int) -> np.ndarray:
        labels, height, width = unary.shape[1:]
        rows = np.ascontiguousarray(unary[0].reshape(labels, -1).T.numpy())
        marginals = np.empty_like(rows)
        arguments = (number(3), number(3), number(alpha), number(beta), number(10), iterations)
        function(rows.ctypes, image.ctypes, height, width, labels, *arguments, marginals.ctypes)
        return marginals.T

    return run


def original(module: ModuleType, unary: Tensor, image: np.ndarray, alpha: float, beta: float, n: int) -> np.ndarray:
    """Infer with pydensecrf."""
    labels, height, width = unary.shape[1:]
    crf = module.DenseCRF2D(width, height, labels)
    crf.setUnaryEnergy(np.ascontiguousarray(unary[0].reshape(labels, -1).numpy()))
    crf.addPairwiseGaussian(sxy=3, compat=3)
    crf.addPairwiseBilateral(sxy=alpha, srgb=beta, rgbim=image, compat=10)
    return np.array(crf.inference(n))


def ours(scores: Tensor, image: np.ndarray, case: str, prune: float = 0.0) -> np.ndarray:
    """Infer with densefield."""
    with torch.no_grad():
        log_q = mean_field(scores, terms_of(image, *WIDTHS[case]), iterations=10, prune=prune)
    return log_q[0].reshape(scores.shape[1], -1).exp_().numpy()


def layer(scores: Tensor, image: np.ndarray, case: str) -> np.ndarray:
    """Infer with the layer, which fills its lattices where that is cheap: nearer to the exact model, other work."""
    alpha, beta = WIDTHS[case]
    crf = DenseCRF(scores.shape[1], (SpatialKernel(3.0, 3.0), BilateralKernel(alpha, beta, 10.0)), iterations=10)
    with torch.no_grad():
        log_q = crf(scores, torch.from_numpy(image).permute(2, 0, 1)[None])
    return log_q[0].reshape(scores.shape[1], -1).exp_().numpy()


def ways(names: list[str], case: str) -> dict[str, Callable[[], np.ndarray]]:
    """Give each way as a function without arguments."""
    image = photograph(case)
    labels = 2 if case == "1080p" else 21
    scores = torch.log_softmax(network_like_scores(labels, *image.shape[:2]), 1)
    unary = -scores
    alpha, beta = WIDTHS[case]

    every: dict[str, Callable[[], np.ndarray]] = {"densefield": lambda: ours(scores, image, case)}
    if "DenseCRF" in names:
        every["DenseCRF"] = lambda: layer(scores, image, case)
    if "textbook" in names:
        function = textbook()
        every["textbook"] = lambda: function(unary, image, alpha, beta, 10)
    if "pydensecrf" in names:
        try:
            module = importlib.import_module("pydensecrf.densecrf")
            every["pydensecrf"] = lambda: original(module, unary, image, alpha, beta, 10)
        except ImportError:
            pass
    return every


def backward(case: str, with_widths: bool) -> float:
    """Give the seconds of a forward and backward pass of five iterations."""
    image = photograph(case)
    scores = torch.log_softmax(network_like_scores(21, *image.shape[:2]), 1).requires_grad_()
    terms = terms_of(image, *WIDTHS[case])
    if with_widths:
        for term in terms:
            term.widths.requires_grad_()
            term.compatibility.requires_grad_()
    target = scores.detach().argmax(1)
    clock = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter
    start = clock()
    torch.nn.functional.nll_loss(mean_field(scores, terms, iterations=5), target).backward()
    return clock() - start


def status(name: str) -> float:
    """Give a memory figure of this process in MiB (Linux)."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name)]
    return int(line.split()[1]) / 1024


def reset_peak() -> float:
    """Forget the peak so far; gives the MiB in use."""
    Path("/proc/self/clear_refs").write_text("5")
    return status("VmRSS")


def print_times(case: str, every: dict[str, Callable[[], np.ndarray]], threads: int, repeats: int) -> None:
    """Time every way in turn and print ratios and what differs."""
    torch.set_num_threads(threads)
    clock = time.process_time if threads == 1 else time.perf_counter
    times: dict[str, float] = {}
    results: dict[str, np.ndarray] = {}
    for repeat in range(repeats):
        for name, run in every.items():
            if repeat > 1 and name == "textbook":
                continue
            start = clock()
            results[name] = run()
            times[name] = min(times.get(name, 1e9), clock() - start)
    mine = times["densefield"]
    parts = [f"{name} {1e3 * t:.0f} ms ({t / mine:.2f}x)" for name, t in times.items()]
    if "DenseCRF" in times and "pydensecrf" in times:
        parts.append(f"({times['pydensecrf'] / times['DenseCRF']:.2f}x DenseCRF)")
    print(f"  {threads} thread(s): " + "  ".join(parts))
    if threads > 1:
        return
    for name in [name for name in results if name != "densefield"]:
        gap = np.abs(results[name] - results["densefield"]).mean()
        moved = (results[name].argmax(0) != results["densefield"].argmax(0)).mean()
        print(f"    {name}: marginals differ from ours by {gap:.1e} on average, labels {100 * moved:.3f} %")


def print_denormals(case: str, iterations: int = 10) -> None:
    """Count the marginals below the normal range of the type that the loop stores them in, by their logarithms."""
    image = photograph(case)
    scores = torch.log_softmax(network_like_scores(2 if case == "1080p" else 21, *image.shape[:2]), 1)
    grid, term = terms_of(image, *WIDTHS[case])
    assert isinstance(term, LatticeTerm)
    terms = [grid, replace(term, lattice=build_lattice(term.features / term.widths[:, None]))]
    numbers = torch.finfo(torch.float32 if case == "1080p" else torch.float16)
    normal, least = math.log(numbers.smallest_normal), math.log(numbers.smallest_normal * numbers.eps / 2)
    log_q, count = scores, 0
    for step in range(iterations):
        count += int(((log_q < normal) & (log_q > least)).sum())
        if step + 1 < iterations:
            log_q = mean_field(scores, terms, iterations=1, initial=log_q, half=False)
    met = count / (iterations * scores.numel())
    print(f"  denormals: {count} of the marginals that {iterations} iterations send ({100 * met:.2f} %)")


def print_kept(case: str, threads: list[int], repeats: int) -> None:
    """Print our own times where kernels compute with denormal numbers."""
    command = [sys.executable, __file__, "--cases", case, "--ways", "DenseCRF", "--times-only"]
    command += ["--repeats", str(repeats), "--threads", *map(str, threads)]
    kept = {**os.environ, "DENSEFIELD_DENORMALS": "keep"}
    lines = subprocess.run(command, capture_output=True, text=True, check=True, env=kept).stdout.splitlines()
    for line in lines:
        if "thread(s)" in line:
            print(f"  denormals kept, {line.strip()}")


def print_pruning(case: str, threads: int, repeats: int) -> None:
    """Print what leaving labels out gains and changes where a network sees 5 of 21 labels."""
    torch.set_num_threads(threads)
    clock = time.process_time if threads == 1 else time.perf_counter
    image = photograph(case)
    scores = network_like_scores(21, *image.shape[:2])
    scores[:, 5:] -= 30.0
    scores = torch.log_softmax(scores, 1)
    bounds = (0.0, 1e-3, 1e-2)
    times, results = [1e9] * len(bounds), [np.empty(0)] * len(bounds)
    for _ in range(repeats):
        for index, bound in enumerate(bounds):
            start = clock()
            results[index] = ours(scores, image, case, bound)
            times[index] = min(times[index], clock() - start)
    print(f"  5 of 21 labels likely, {threads} thread(s), all kept {1e3 * times[0]:.0f} ms")
    for bound, spent, found in zip(bounds[1:], times[1:], results[1:], strict=True):
        left = int((scores.exp().flatten(2).amax(2) < bound).sum())
        moved = 100 * (found.argmax(0) != results[0].argmax(0)).mean()
        gap = np.abs(found - results[0]).mean()
        gain = f"{1e3 * spent:.0f} ms ({times[0] / spent:.2f}x)"
        print(f"    prune={bound:g}: {left} left out, {gain}, marginals move by {gap:.1e}, labels {moved:.3f} %")


def print_memory(case: str, names: list[str]) -> None:
    """Print each way's peak memory over what was in use before, two threads."""
    found = {}
    for name in names:
        command = [sys.executable, __file__, "--cases", case, "--peak-of", name, "--threads", "2"]
        words = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
        if words:
            found[name] = float(words[-1])
    parts = [f"{name} {size:.0f} MiB ({size / found['densefield']:.2f}x)" for name, size in found.items()]
    print("  peak memory: " + "  ".join(parts))


def print_drop_in(case: str) -> None:
    """Print how far the drop-in, whose spatial kernel is a lattice too, is from pydensecrf itself."""
    try:
        modules = [
            importlib.import_module(name) for name in ("densefield.refine.pydensecrf.densecrf", "pydensecrf.densecrf")
        ]
    except ImportError:
        return
    image = photograph(case)
    unary = -torch.log_softmax(network_like_scores(2 if case == "1080p" else 21, *image.shape[:2]), 1)
    ours, theirs = (original(module, unary, image, *WIDTHS[case], 10) for module in modules)
    moved = (ours.argmax(0) != theirs.argmax(0)).mean()
    gap = np.abs(ours - theirs).mean()
    print(f"  drop-in against pydensecrf: marginals {gap:.1e} on average, labels {100 * moved:.3f} %")


def main() -> None:
    """Print times and ratios, or one way's peak memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--cases", nargs="+", default=list(WIDTHS), choices=list(WIDTHS))
    parser.add_argument("--ways", nargs="*", default=["DenseCRF", "textbook", "pydensecrf"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--times-only", action="store_true", help="times of all ways, and no more")
    parser.add_argument("--no-memory", action="store_true", help="leave peak memory out")
    parser.add_argument("--backward", action="store_true", help="forward and backward, five iterations")
    parser.add_argument("--peak-of", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.peak_of:
        torch.set_num_threads(options.threads[0])
        run = ways([options.peak_of], options.cases[0])[options.peak_of]
        tiny = torch.rand(1, 2, 8, 8)  # what is loaded at first use is not the CRF's
        mean_field(tiny, terms_of(np.zeros((8, 8, 3), np.uint8), 80, 13), iterations=1)
        before = reset_peak()
        run()
        print(status("VmHWM") - before)
    elif options.backward:
        for threads in options.threads:
            torch.set_num_threads(threads)
            for case in options.cases:
                plain, widths = (min(backward(case, x) for _ in range(options.repeats)) for x in (False, True))
                print(f"{threads} thread(s) {case}: scores {plain:.3f} s, and weights and widths {widths:.3f} s")
    else:
        for case in options.cases:
            lattice_term = terms_of(photograph(case), *WIDTHS[case])[1]
            assert isinstance(lattice_term, LatticeTerm)
            rows = build_lattice(lattice_term.features / lattice_term.widths[:, None]).rows
            print(f"{case}: {rows} lattice points")
            every = ways(options.ways, case)
            for threads in options.threads:
                print_times(case, every, threads, options.repeats)
            if options.times_only:
                continue
            print_denormals(case)
            print_kept(case, options.threads, options.repeats)
            if case != "1080p":
                print_pruning(case, options.threads[-1], options.repeats)
            if not options.no_memory:
                print_memory(case, list(every))
            if "pydensecrf" in every:
                print_drop_in(case)
            torch.set_num_threads(1)
            print_phases(case)


if __name__ == "__main__":
    main()
