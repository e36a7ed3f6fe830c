"""A mean field written as the formula says, with whole kernel matrices in float64: what the layer is held against."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

Array = NDArray[np.float64]


def kernel_matrix(features: Array) -> Array:  # (d, N), divided by widths -> (N, N)
    gaps = features[:, :, None] - features[:, None, :]
    matrix: Array = np.exp(-0.5 * (gaps**2).sum(0))
    return matrix


def normalized(matrix: Array, how: str) -> Array:
    mass = matrix.sum(1)
    if how == "symmetric":
        return matrix / np.sqrt(np.outer(mass, mass))
    if how == "before":
        return matrix / mass[None, :]
    return matrix / mass[:, None] if how == "after" else matrix


def softmax(logits: Array) -> Array:  # over axis 0
    powers = np.exp(logits - logits.max(0))
    result: Array = powers / powers.sum(0)
    return result


def mean_field(unary: Array, pairs: list[tuple[Array, Array]], iterations: int) -> Array:
    """Marginals (K, N) of energies (K, N) with pairs of a kernel matrix (N, N) and a compatibility (K, K)."""
    marginals = softmax(-unary)
    for _ in range(iterations):
        marginals = softmax(-unary - sum(energies @ marginals @ kernel.T for kernel, energies in pairs))
    return marginals


class Exact:
    kernel_matrix = staticmethod(kernel_matrix)
    normalized = staticmethod(normalized)
    softmax = staticmethod(softmax)
    mean_field = staticmethod(mean_field)

    @staticmethod
    def places(*size: int) -> Array:  # (axes, N)
        return np.indices(size).reshape(len(size), -1).astype(np.float64)


@pytest.fixture(scope="session")
def exact() -> type[Exact]:
    return Exact
