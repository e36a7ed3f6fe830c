"""Gaussian filtering of score maps: the native kernel beside torch's convolution and a memory copy, as ratios.

Run: python benchmarks/gaussian.py [--size 375x500] [--channels 21] [--theta 3] [--threads N]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from densefield.ops import native
from densefield.ops.gaussian import gaussian_filter
from densefield.ops.gaussian.plain import filter_grid, kernel_radius, kernel_weights


def milliseconds(run: Callable[[Tensor], object], values: Tensor, repeats: int = 2) -> float:
    """Give the shortest time of a run, after one for warming up: other work on the machine only lengthens.

    A single thread is timed by its own processor time, which other work does not lengthen.
    """
    clock = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter
    times = []
    for _ in range(repeats + 1):
        start = clock()
        run(values)
        times.append(clock() - start)
    return 1e3 * min(times[1:])


def filter_by_convolution(values: Tensor, theta: float) -> Tensor:
    """Do what a user would write: two one-dimensional convolutions, each channel for itself."""
    radius = kernel_radius(theta, 0, values.dtype, max(values.shape[2:]))
    weights = kernel_weights(torch.arange(-radius, radius + 1, dtype=torch.float64).abs(), theta, 0).to(values)
    planes = values.reshape(-1, 1, *values.shape[2:])
    planes = functional.conv2d(planes, weights.view(1, 1, -1, 1), padding=(radius, 0))
    return functional.conv2d(planes, weights.view(1, 1, 1, -1), padding=(0, radius)).view_as(values)


def forward_and_backward(values: Tensor, theta: float) -> None:
    """Filter, then take the gradients by values and by the width of each axis."""
    widths = torch.full((2,), theta, dtype=torch.float64, requires_grad=True)
    gaussian_filter(values.detach().requires_grad_(), widths).sum().backward()


def main() -> None:
    """Print a row for each way, type and direction."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="375x500", help="height x width")
    parser.add_argument("--channels", type=int, default=21)
    parser.add_argument("--theta", type=float, default=3.0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    height, width = map(int, options.size.split("x"))
    theta: float = options.theta
    torch.set_num_threads(options.threads)
    print(f"1 x {options.channels} x {height} x {width}, theta {theta:g}, {options.threads} threads, {native.cpu()}")
    print(f"{'':28}{'ms':>9}{'x copy':>9}{'x native':>10}{'error':>10}")
    for dtype in (torch.float32, torch.float64):
        values = torch.randn(1, options.channels, height, width, dtype=dtype)
        exact = gaussian_filter(values.double(), theta)
        copy = milliseconds(torch.clone, values, 20)
        fast = milliseconds(lambda values: gaussian_filter(values, theta), values, 20)
        print(f"{str(dtype)[6:]:>9} {'copy of the values':18}{copy:9.2f}{1:9.1f}")
        ways: list[tuple[str, Callable[[Tensor], Tensor]]] = [
            ("native", lambda values: gaussian_filter(values, theta)),
            ("torch, matrices", lambda values: filter_grid(values, [theta, theta], [0, 0])),
            ("torch, conv2d", lambda values: filter_by_convolution(values, theta)),
        ]
        for name, run in ways:
            spent = fast if name == "native" else milliseconds(run, values)
            error = float((run(values).double() - exact).abs().max() / exact.abs().max())
            print(f"{'':10}{name:18}{spent:9.2f}{spent / copy:9.1f}{spent / fast:10.2f}{error:10.1e}")
        both = milliseconds(lambda values: forward_and_backward(values, theta), values, 10)
        print(f"{'':10}{'native, + backward':18}{both:9.2f}{both / copy:9.1f}{both / fast:10.2f}")


if __name__ == "__main__":
    main()
