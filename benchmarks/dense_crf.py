"""The dense CRF beside a plain restatement of the textbook lattice and, where it is installed, pydensecrf.

All ways run in turn on the same photograph and network-like scores, building included; the shortest times count. With
one thread processor time is taken, so that other work on the machine does not lengthen it. Prints, a case: times,
ratios, peak memory over what was in use before (each way in a process of its own, Linux), what pruning changes, and
where our time goes: bytes by phase and the ratio to a memory copy of as many. The textbook is compiled from
textbook_crf.cpp by `c++ -O3`.

Run: python benchmarks/dense_crf.py [--threads 1 2] [--cases 80x13 49x5 67x3 1080p] [--no-memory] [--backward]
"""

from __future__ import annotations

import argparse
import ctypes
import importlib
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
from PIL import Image
from torch import Tensor

from densefield.ops.mean_field import GridTerm, LatticeTerm, mean_field
from densefield.ops.mean_field.structures import Job, layout
from densefield.ops.permutohedral import build_lattice
from densefield.refine import BilateralKernel, DenseCRF, SpatialKernel

WIDTHS = {"80x13": (80.0, 13.0), "49x5": (49.0, 5.0), "67x3": (67.0, 3.0), "1080p": (80.0, 13.0)}


def photograph(case: str) -> np.ndarray:  # (H, W, 3) uint8
    """Give a photograph that ships with scikit-image, in the case's size."""
    data = importlib.import_module("skimage.data")
    size = (1920, 1080) if case == "1080p" else (500, 375)
    return np.array(
        Image.fromarray(data.stereo_motorcycle()[0]).crop((0, 0, 667, 500)).resize(size, Image.Resampling.BICUBIC)
    )


def network_like_scores(labels: int, height: int, width: int) -> Tensor:  # (1, labels, H, W)
    """Give scores as a network of output stride 32 does: a few labels strong, smooth, a little noise."""
    generator = torch.Generator().manual_seed(0)
    coarse = 4 * torch.randn(1, labels, height // 32 + 2, width // 32 + 2, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic", align_corners=False)
    return smooth + 0.5 * torch.randn(1, labels, height, width, generator=generator)


def terms_of(image: np.ndarray, alpha: float, beta: float) -> list[GridTerm | LatticeTerm]:
    """Give the default kernels: spatial weight 3, width 3; bilateral weight 10."""
    height, width, _ = image.shape
    features = torch.empty(5, height, width)
    features[0] = torch.arange(width)
    features[1] = torch.arange(height)[:, None]
    features[2:] = torch.from_numpy(image).permute(2, 0, 1)
    widths = torch.tensor([alpha, alpha, beta, beta, beta])
    return [
        GridTerm(torch.tensor([3.0, 3.0]), torch.tensor(-3.0)),
        LatticeTerm(features.reshape(1, 5, -1), widths, torch.tensor(-10.0)),
    ]


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


def ours(unary: Tensor, image: np.ndarray, case: str, prune: float = 0.0) -> np.ndarray:
    """Infer with densefield."""
    with torch.no_grad():
        log_q = mean_field(unary, terms_of(image, *WIDTHS[case]), iterations=10, prune=prune)
    return log_q[0].reshape(unary.shape[1], -1).exp_().numpy()


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
    unary = -torch.log_softmax(network_like_scores(labels, *image.shape[:2]), 1)
    alpha, beta = WIDTHS[case]

    every: dict[str, Callable[[], np.ndarray]] = {"densefield": lambda: ours(unary, image, case)}
    if "DenseCRF" in names:
        scores = -unary
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
    unary = -torch.log_softmax(network_like_scores(21, *image.shape[:2]), 1).requires_grad_()
    terms = terms_of(image, *WIDTHS[case])
    if with_widths:
        for term in terms:
            term.widths.requires_grad_()
            term.compatibility.requires_grad_()
    target = unary.detach().argmin(1)
    clock = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter
    start = clock()
    torch.nn.functional.nll_loss(mean_field(unary, terms, iterations=5), target).backward()
    return clock() - start


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
    unary = -torch.log_softmax(network_like_scores(labels, *image.shape[:2]), 1)
    grid, term = terms_of(image, *WIDTHS[case])
    assert isinstance(term, LatticeTerm)
    features = term.features / term.widths[:, None]
    build, whole, lattice = 1e9, 1e9, build_lattice(features)
    best = torch.full((len(PHASES),), 1e9, dtype=torch.float64)
    run = Job.run
    for _ in range(5):
        seconds = torch.zeros(len(PHASES), dtype=torch.float64)

        def timed(job: Job, name: str, sums: Tensor = seconds) -> None:
            job.field.seconds = job.hold(sums)
            run(job, name)

        start = time.perf_counter()
        lattice = build_lattice(features)
        build = min(build, time.perf_counter() - start)
        setattr(Job, "run", timed)  # noqa: B010 - the loop, asked for its phases
        start = time.perf_counter()
        mean_field(unary, [grid, replace(term, lattice=lattice)], iterations=iterations)
        whole = min(whole, time.perf_counter() - start)
        setattr(Job, "run", run)  # noqa: B010
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
    print(f"  {threads} thread(s): " + "  ".join(parts))
    if threads > 1:
        return
    for name in [name for name in results if name != "densefield"]:
        gap = np.abs(results[name] - results["densefield"]).mean()
        moved = (results[name].argmax(0) != results["densefield"].argmax(0)).mean()
        print(f"    {name}: marginals differ from ours by {gap:.1e} on average, labels {100 * moved:.3f} %")


def print_pruning(case: str, threads: int, repeats: int) -> None:
    """Print what leaving labels out gains and changes where a network sees 5 of 21 labels."""
    torch.set_num_threads(threads)
    clock = time.process_time if threads == 1 else time.perf_counter
    image = photograph(case)
    scores = network_like_scores(21, *image.shape[:2])
    scores[:, 5:] -= 30.0
    unary = -torch.log_softmax(scores, 1)
    bounds = (0.0, 1e-3, 1e-2)
    times, results = [1e9] * len(bounds), [np.empty(0)] * len(bounds)
    for _ in range(repeats):
        for index, bound in enumerate(bounds):
            start = clock()
            results[index] = ours(unary, image, case, bound)
            times[index] = min(times[index], clock() - start)
    print(f"  5 of 21 labels likely, {threads} thread(s), all kept {1e3 * times[0]:.0f} ms")
    for bound, spent, found in zip(bounds[1:], times[1:], results[1:], strict=True):
        left = int((unary.neg().exp().flatten(2).amax(2) < bound).sum())
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
