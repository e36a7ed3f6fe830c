"""The dense CRF beside a plain restatement of the textbook lattice and, where it is installed, pydensecrf.

All ways run in turn on the same photograph and network-like scores, building included; the shortest times count. With
one thread processor time is taken, so that other work on the machine does not lengthen it. The textbook is compiled
from textbook_crf.cpp by `c++ -O3`.

Run: python benchmarks/dense_crf.py [--threads 1 2] [--cases 80x13 49x5 67x3 1080p] [--memory] [--backward]
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
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from densefield.ops.mean_field import GridTerm, LatticeTerm, mean_field
from densefield.ops.permutohedral import build_lattice

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


def ways(names: list[str], case: str) -> dict[str, Callable[[], np.ndarray]]:
    """Give each way as a function without arguments."""
    image = photograph(case)
    labels = 2 if case == "1080p" else 21
    unary = -torch.log_softmax(network_like_scores(labels, *image.shape[:2]), 1)
    alpha, beta = WIDTHS[case]

    def ours(prune: float = 0.0) -> np.ndarray:
        with torch.no_grad():
            log_q = mean_field(unary, terms_of(image, alpha, beta), iterations=10, prune=prune)
        return log_q[0].reshape(labels, -1).exp_().numpy()

    every: dict[str, Callable[[], np.ndarray]] = {"densefield": ours}
    if "pruned" in names:
        every["pruned"] = lambda: ours(prune=1e-3)
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
    for _ in range(4):
        start = time.perf_counter()
        target.copy_(source)
        times.append(time.perf_counter() - start)
    return 2 * source.nbytes / min(times) / 1e9


def status(name: str) -> float:
    """Give a memory figure of this process in MiB (Linux)."""
    (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name)]
    return int(line.split()[1]) / 1024


def reset_peak() -> float:
    """Forget the peak so far; gives the MiB in use."""
    Path("/proc/self/clear_refs").write_text("5")
    return status("VmRSS")


def print_times(options: argparse.Namespace) -> None:
    """Time every way in turn."""
    for threads in options.threads:
        torch.set_num_threads(threads)
        clock = time.process_time if threads == 1 else time.perf_counter
        print(f"{threads} thread(s), memory copy {copy_gigabytes(threads):.1f} GB/s")
        for case in options.cases:
            every = ways(options.ways, case)
            times: dict[str, float] = {}
            results: dict[str, np.ndarray] = {}
            for repeat in range(options.repeats):
                for name, run in every.items():
                    if repeat > 1 and name in ("textbook", "pydensecrf"):
                        continue
                    start = clock()
                    results[name] = run()
                    times[name] = min(times.get(name, 1e9), clock() - start)
            mine = times["densefield"]
            parts = [f"{case:6}"] + [f"{name} {1e3 * t:.0f} ms ({t / mine:.1f}x)" for name, t in times.items()]
            print("  ".join(parts))
            for name in results.keys() - {"densefield"}:
                gap = np.abs(results[name] - results["densefield"]).mean()
                moved = (results[name].argmax(0) != results["densefield"].argmax(0)).mean()
                print(f"        {name}: marginals differ by {gap:.1e} on average, labels {100 * moved:.3f} %")


def main() -> None:
    """Print times and ratios, or one way's peak memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--cases", nargs="+", default=list(WIDTHS), choices=list(WIDTHS))
    parser.add_argument("--ways", nargs="+", default=["textbook", "pydensecrf", "pruned"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--memory", action="store_true", help="peak memory of each way over what was in use before (Linux)"
    )
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
    elif options.memory:
        for case in options.cases:
            for name in ("densefield", "textbook", "pydensecrf"):
                command = [sys.executable, __file__, "--cases", case, "--peak-of", name, "--threads", "2"]
                found = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
                print(case, name, f"{float(found[-1]):.0f} MiB" if found else "not there")
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
        print_times(options)


if __name__ == "__main__":
    main()
