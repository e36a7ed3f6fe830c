"""The kernels of a dense CRF: how much two pixels have to do with each other, by their places, colors or features.

Each is exp(-½ Σ_a ((x_ia - x_ja) / θ_a)²) with a weight; a frozen description whose numbers may be tensors, so that
gradients reach them. Names as in Krähenbühl and Koltun 2011, equation 3.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor

from densefield.built import described
from densefield.built.bounds import Number, Scale
from densefield.checks import InputError, check, check_finite, shown
from densefield.ops import native
from densefield.ops.mean_field import GridTerm, LatticeTerm
from densefield.ops.precision import cholesky, matmul, solve_lower
from densefield.refine.compatibility import as_tensor, check_positive

Width: TypeAlias = Scale | Sequence[Scale] | Tensor


class Field(NamedTuple):
    """What kernels look at: the pixels' grid, and the image or free features on it, in float."""

    size: tuple[int, ...]
    image: Tensor | None  # (B, channels, N), in 8-bit units, uint8 or as `like`
    features: Tensor | None  # (B, d, N)
    like: Tensor  # gives batch, device and type


@described("spatial")
@dataclasses.dataclass(frozen=True, eq=False)
class SpatialKernel:
    """Pixels close to each other: θ_γ in pixels, one width for all axes or one an axis (rows first)."""

    theta_gamma: Width = 3.0
    weight: Scale | Tensor = 3.0

    def __post_init__(self) -> None:
        check_positive("theta_gamma", self.theta_gamma)
        check_positive("weight", self.weight)

    def raw(self) -> dict[str, Tensor]:
        """The logarithms of the widths: any number will do when they are learned."""
        return {"theta_gamma": _log(self.theta_gamma)}

    def with_raw(self, raw: Mapping[str, Tensor]) -> SpatialKernel:
        return dataclasses.replace(self, theta_gamma=raw["theta_gamma"].exp())

    def term(self, field: Field, energies: Tensor) -> GridTerm:
        """The kernel on a grid, for the mean field."""
        return GridTerm(_spread("theta_gamma", self.theta_gamma, len(field.size), "axis"), energies)


@described("bilateral")
@dataclasses.dataclass(frozen=True, eq=False)
class BilateralKernel:
    """Close pixels of like color: θ_α in pixels, one or one an axis; θ_β in 8-bit units, one or one a channel."""

    theta_alpha: Width = 80.0
    theta_beta: Width = 13.0
    weight: Scale | Tensor = 10.0

    def __post_init__(self) -> None:
        check_positive("theta_alpha", self.theta_alpha)
        check_positive("theta_beta", self.theta_beta)
        check_positive("weight", self.weight)

    def raw(self) -> dict[str, Tensor]:
        """The logarithms of the widths: any number will do when they are learned."""
        return {"theta_alpha": _log(self.theta_alpha), "theta_beta": _log(self.theta_beta)}

    def with_raw(self, raw: Mapping[str, Tensor]) -> BilateralKernel:
        return dataclasses.replace(self, theta_alpha=raw["theta_alpha"].exp(), theta_beta=raw["theta_beta"].exp())

    def term(self, field: Field, energies: Tensor) -> LatticeTerm:
        """The kernel over an image, for the mean field."""
        check(field.image is not None, "image: a BilateralKernel looks at it; received none")
        assert field.image is not None
        axes, channels = len(field.size), field.image.shape[1]
        check(
            axes + channels <= 16,
            f"image: wanted at most {16 - axes} channels beside {axes} axes of positions, received {channels}",
        )
        # Columns before rows: the lattice is not quite the same for another order, and pydensecrf has this one.
        batch = len(field.image)
        places = [axis.expand(batch, 1, *field.size) for axis in reversed(axis_positions(field.size, field.like))]
        parts = [*places, field.image.reshape(batch, channels, *field.size)]
        features = _joined(parts, (batch, axes + channels, *field.size), field.like).flatten(2)
        alpha = _spread("theta_alpha", self.theta_alpha, len(field.size), "axis").flip(0)
        beta = _spread("theta_beta", self.theta_beta, channels, "channel")
        widths = torch.cat([alpha.to(field.like), beta.to(field.like)])
        return LatticeTerm(features, widths, energies)


@described("feature")
@dataclasses.dataclass(frozen=True, eq=False)
class FeatureKernel:
    """Pixels whose free features are alike: `theta` one width or one a feature, or else a full `covariance` (d, d)."""

    theta: Width = 1.0
    weight: Scale | Tensor = 1.0
    covariance: Sequence[Sequence[Number]] | Tensor | None = None

    def __post_init__(self) -> None:
        check_positive("theta", self.theta)
        check_positive("weight", self.weight)
        if self.covariance is not None:
            self._factor()

    def raw(self) -> dict[str, Tensor]:
        """Logarithms of the widths, or the Cholesky factor of the covariance with its diagonal as logarithms."""
        if self.covariance is None:
            return {"theta": _log(self.theta)}
        factor = self._factor().detach()
        return {"factor": factor.tril(-1) + torch.diag(factor.diagonal().log())}

    def with_raw(self, raw: Mapping[str, Tensor]) -> FeatureKernel:
        if self.covariance is None:
            return dataclasses.replace(self, theta=raw["theta"].exp())
        factor = raw["factor"].tril(-1) + torch.diag(raw["factor"].diagonal().exp())
        return dataclasses.replace(self, covariance=matmul(factor, factor.T))

    def term(self, field: Field, energies: Tensor) -> LatticeTerm:
        """The kernel over features, for the mean field."""
        check(field.features is not None, "features: a FeatureKernel looks at them; received none")
        assert field.features is not None
        count = field.features.shape[1]
        if self.covariance is None:
            widths = _spread("theta", self.theta, count, "feature").to(field.like)
            return LatticeTerm(field.features, widths, energies)
        factor = self._factor().to(field.like)
        check(
            factor.shape[0] == count,
            f"covariance: wanted shape {(count, count)} to fit {count} features, received {tuple(factor.shape)}",
        )
        whitened = solve_lower(factor, field.features)
        return LatticeTerm(whitened, field.like.new_ones(count), energies)

    def _factor(self) -> Tensor:  # (d, d), lower
        assert self.covariance is not None
        try:
            covariance = as_tensor(self.covariance)
        except (TypeError, ValueError, RuntimeError):
            raise InputError(f"covariance: wanted a square matrix (d, d), received {shown(self.covariance)}") from None
        check(
            covariance.dim() == 2 and covariance.shape[0] == covariance.shape[1],
            f"covariance: wanted a square matrix (d, d), received shape {tuple(covariance.shape)}",
        )
        check_finite("covariance", covariance)
        check(torch.allclose(covariance, covariance.T, rtol=1e-4), "covariance: wanted a symmetric matrix")
        factor = cholesky(covariance)
        check(bool(factor.isfinite().all()), "covariance: wanted a positive definite matrix")
        return factor


Kernel: TypeAlias = SpatialKernel | BilateralKernel | FeatureKernel


def per_axis(kernels: Sequence[Kernel], axes: int = 2, channels: int = 3) -> tuple[Kernel, ...]:
    """The kernels with a width for each axis and channel in place of one for all, so that each is learned by itself."""
    spread = []
    for kernel in kernels:
        if isinstance(kernel, SpatialKernel):
            kernel = dataclasses.replace(kernel, theta_gamma=_each(kernel.theta_gamma, axes))
        elif isinstance(kernel, BilateralKernel):
            alpha, beta = _each(kernel.theta_alpha, axes), _each(kernel.theta_beta, channels)
            kernel = dataclasses.replace(kernel, theta_alpha=alpha, theta_beta=beta)
        spread.append(kernel)
    return tuple(spread)


def _each(width: Width, count: int) -> Width:
    return (float(width),) * count if isinstance(width, int | float) else width


def check_kernels(kernels: Sequence[Kernel]) -> None:
    """Raise for what is no sequence of kernels."""
    wanted = "a list of SpatialKernel, BilateralKernel or FeatureKernel objects"
    check(
        isinstance(kernels, Sequence) and not isinstance(kernels, str),
        f"kernels: wanted {wanted}, received {shown(kernels)}",
    )
    for kernel in kernels:
        check(isinstance(kernel, Kernel), f"kernels: wanted {wanted}, received {shown(kernel)} among them")


def positions(
    size: Sequence[int],
    like: Tensor,
) -> Tensor:  # (len(size), N)
    """Each pixel's coordinates, one row an axis."""
    grids = [axis.expand(size) for axis in axis_positions(size, like)]
    return torch.stack(grids).reshape(len(grids), math.prod(size))


def axis_positions(
    size: Sequence[int],
    like: Tensor,
) -> list[Tensor]:
    """The coordinates along each axis, in a shape that spreads over all pixels: (H, 1) and (W,) of an image."""
    numbers = [torch.arange(length, dtype=like.dtype, device=like.device) for length in size]
    return [axis.reshape(-1, *[1] * (len(size) - 1 - index)) for index, axis in enumerate(numbers)]


def _joined(parts: Sequence[Tensor], shape: Sequence[int], like: Tensor) -> Tensor:
    """Put features (B, ?, *size) side by side: large ones in memory that the system does not have to clear."""
    large = math.prod(shape) * like.element_size() >= native.LARGE
    if not large or like.device.type != "cpu" or any(part.requires_grad for part in parts):
        return torch.cat(list(parts), 1)
    return torch.cat(list(parts), 1, out=native.empty(shape, like.dtype))


def _log(width: Width) -> Tensor:
    return as_tensor(width).detach().log()


def _spread(name: str, width: Width, count: int, what: str) -> Tensor:  # (count,)
    """One width for each of `count` axes, channels or features."""
    tensor = as_tensor(width)
    fits = tensor.dim() == 0 or tuple(tensor.shape) in ((1,), (count,))
    check(fits, f"{name}: wanted one width or {count}, one for each {what}, received shape {tuple(tensor.shape)}")
    return tensor.expand(count)
