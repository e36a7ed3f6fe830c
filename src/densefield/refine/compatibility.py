"""Compatibility of labels: what a pair of similar pixels costs, by their two labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor

from densefield.built import described
from densefield.built.bounds import Number, Scale
from densefield.checks import InputError, check, check_finite, shown


@described("potts")
@dataclasses.dataclass(frozen=True, eq=False)
class Potts:
    """Equal labels cost `-weight`, others nothing: μ = -weight · I, weight > 0."""

    weight: Scale | Tensor = 1.0

    def __post_init__(self) -> None:
        check_positive("weight", self.weight)

    def energies(self) -> Tensor:  # ()
        """The energy c of μ = c · I."""
        return -as_tensor(self.weight)

    def raw(self) -> Tensor:
        """The logarithm of the weight: any number will do when it is learned."""
        return as_tensor(self.weight).detach().log()

    def with_raw(self, raw: Tensor) -> Potts:
        return dataclasses.replace(self, weight=raw.exp())


@described("diagonal")
@dataclasses.dataclass(frozen=True, eq=False)
class Diagonal:
    """Pairs of label k cost `values[k]`, pairs of different labels nothing: μ = diag(values), the sign as given.

    Attraction is negative: `Diagonal((-1.0,) * K)` is `Potts()`.
    """

    values: Sequence[Number] | Tensor  # (K,)

    def __post_init__(self) -> None:
        _check_shape("values", self.values, 1)

    def energies(self) -> Tensor:  # (K,)
        return as_tensor(self.values)

    def raw(self) -> Tensor:
        """The energies themselves, as both signs make sense."""
        return self.energies().detach().clone()

    def with_raw(self, raw: Tensor) -> Diagonal:
        return dataclasses.replace(self, values=raw)


@described("matrix")
@dataclasses.dataclass(frozen=True, eq=False)
class Matrix:
    """A pair of labels k and l costs (values[k, l] + values[l, k]) / 2, the sign as given."""

    values: Sequence[Sequence[Number]] | Tensor  # (K, K)

    def __post_init__(self) -> None:
        _check_shape("values", self.values, 2)

    def energies(self) -> Tensor:  # (K, K)
        values = as_tensor(self.values)
        return (values + values.T) / 2

    def raw(self) -> Tensor:
        """The energies themselves, as both signs make sense."""
        return self.energies().detach().clone()

    def with_raw(self, raw: Tensor) -> Matrix:
        return dataclasses.replace(self, values=raw)


Compatibility: TypeAlias = Potts | Diagonal | Matrix


def check_compatibility(compatibility: Compatibility | Sequence[Compatibility], count: int) -> Sequence[Compatibility]:
    """Give one compatibility for all of `count` kernels, or one each; raise for anything else."""
    each = compatibility if isinstance(compatibility, Sequence) else [compatibility]
    for chosen in each:
        wanted = "a Potts, Diagonal or Matrix object, or one for each kernel"
        check(isinstance(chosen, Compatibility), f"compatibility: wanted {wanted}, received {shown(chosen)}")
    check(
        not isinstance(compatibility, Sequence) or len(each) == count,
        f"compatibility: wanted one for all kernels or {count}, one each, received {len(each)}",
    )
    return each


def as_tensor(value: float | Sequence[float] | Sequence[Sequence[float]] | Tensor) -> Tensor:
    """Numbers as a tensor of at least float32, on the CPU; tensors keep their device and graph."""
    if isinstance(value, Tensor):
        if value.is_complex():
            raise TypeError("wanted real numbers")
        return value if value.dtype in (torch.float32, torch.float64) else value.float()
    return torch.tensor(value, dtype=torch.float32, device="cpu")


def check_positive(name: str, value: float | Sequence[float] | Tensor) -> None:
    """Raise unless all numbers are finite and above zero."""
    try:
        tensor = as_tensor(value).detach()
    except (TypeError, ValueError, RuntimeError):
        raise InputError(f"{name}: wanted positive numbers, received {shown(value)}") from None
    real = tensor.numel() > 0 and not tensor.is_complex()
    good = real and bool((torch.isfinite(tensor) & (tensor > 0)).all())
    given = tensor.tolist() if isinstance(value, Tensor) and tensor.numel() < 9 else value
    check(good, f"{name}: wanted positive finite numbers, received {shown(given)}")


def _check_shape(name: str, value: Sequence[float] | Sequence[Sequence[float]] | Tensor, dims: int) -> None:
    wanted = "one energy a label (K,)" if dims == 1 else "a square matrix of energies (K, K)"
    try:
        tensor = as_tensor(value).detach()
    except (TypeError, ValueError, RuntimeError):
        raise InputError(f"{name}: wanted {wanted}, received {shown(value)}") from None
    fits = tensor.dim() == dims and tensor.shape[0] > 0 and tensor.shape[0] == tensor.shape[-1]
    check(fits, f"{name}: wanted {wanted}, received shape {tuple(tensor.shape)}")
    check_finite(name, tensor)
