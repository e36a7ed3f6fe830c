"""The exact mean field of a whole photograph: the bilateral kernel over all pairs of pixels, float64 sums.

O(N²) time, O(N) memory: 187,500 pixels and 21 labels take minutes, so that results can be kept in a file. The kernel is
compiled from exact_filter.cpp by `c++ -O3 -march=native`; the spatial kernel is a product of two whole matrices.
"""

from __future__ import annotations

import ctypes
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor


def exact_marginals(
    unary: Tensor,  # (1, C, H, W)
    image: np.ndarray,  # (H, W, 3) uint8
    alpha: float,
    beta: float,
    iterations: int,
    threads: int,
) -> Tensor:  # (C, H, W) float64
    """Infer with weights 3 and 10, spatial width 3 and symmetric normalisation."""
    height, width = unary.shape[2:]
    energies = unary[0].double()
    rows, columns = np.indices((height, width), dtype=np.float64)
    features = np.concatenate([rows[..., None] / alpha, columns[..., None] / alpha, image / beta], -1)
    features = np.ascontiguousarray((features - features.mean((0, 1))).reshape(-1, 5), np.float32)
    axes = []
    for length in (height, width):
        places = torch.arange(length, dtype=torch.float64) / 3
        kernel = torch.exp(-0.5 * (places[:, None] - places).square())
        root = kernel.sum(1).rsqrt()
        axes.append(root[:, None] * kernel * root)
    run = compiled()

    def filtered(values: Tensor) -> Tensor:  # (C, H, W)
        given = np.ascontiguousarray(values.flatten(1).T.numpy())
        output = np.empty_like(given)
        run(features.ctypes, 5, len(given), given.ctypes, given.shape[1], output.ctypes, threads)
        return torch.from_numpy(output).T.reshape(values.shape)

    root = filtered(torch.ones(1, height, width, dtype=torch.float64)).rsqrt()
    q = torch.softmax(-energies, 0)
    for step in range(iterations):
        message = 3 * (axes[0] @ q @ axes[1]) + 10 * root * filtered(root * q)
        q = torch.softmax(message - energies, 0)
        print(f"  exact: iteration {step + 1} of {iterations}", flush=True)
    return q


def compiled() -> Callable[..., None]:
    """Compile the filter."""
    library = Path(tempfile.mkdtemp()) / "exact_filter.so"
    source = Path(__file__).with_name("exact_filter.cpp")
    flags = ["-O3", "-march=native", "-std=c++17", "-shared", "-fPIC", "-pthread"]
    subprocess.run(["c++", *flags, "-o", str(library), str(source)], check=True)
    function = ctypes.CDLL(str(library)).exact_filter
    function.argtypes = [ctypes.c_void_p, ctypes.c_int32, ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64]
    function.argtypes += [ctypes.c_void_p, ctypes.c_int32]
    function.restype = None
    return function
