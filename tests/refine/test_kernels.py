from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from densefield.checks import InputError
from densefield.ops.mean_field import GridTerm, LatticeTerm
from densefield.refine import BilateralKernel, FeatureKernel, Kernel, SpatialKernel
from densefield.refine.kernels import Field, positions
from drawing import seeded

LIKE = torch.zeros((), dtype=torch.float64)
ENERGY = torch.tensor(-1.0)


def field(image: torch.Tensor | None = None, features: torch.Tensor | None = None) -> Field:
    return Field((2, 3), image, features, LIKE)


def matrix_of(term: LatticeTerm, exact: Any) -> np.ndarray[Any, Any]:
    result: np.ndarray[Any, Any] = exact.kernel_matrix((term.features[0] / term.widths[:, None]).numpy())
    return result


def test_positions_count_rows_then_columns() -> None:
    assert positions((2, 3), LIKE).tolist() == [[0, 0, 0, 1, 1, 1], [0, 1, 2, 0, 1, 2]]


def test_a_spatial_kernel_is_a_term_of_the_grid() -> None:
    term = SpatialKernel(theta_gamma=(2.0, 5.0), weight=7.0).term(field(), ENERGY)
    assert isinstance(term, GridTerm)
    assert term.widths.tolist() == [2.0, 5.0]
    assert SpatialKernel(4.0).term(field(), ENERGY).widths.tolist() == [4.0, 4.0]


def test_a_bilateral_kernel_is_the_formula_of_the_paper(exact: Any) -> None:
    image = torch.arange(18, dtype=torch.float64).reshape(1, 3, 6) ** 1.5
    kernel = BilateralKernel(theta_alpha=(4.0, 2.0), theta_beta=(10.0, 20.0, 30.0))
    got = matrix_of(kernel.term(field(image), ENERGY), exact)
    for i in range(6):
        for j in range(6):
            rows, columns = i // 3 - j // 3, i % 3 - j % 3
            colors = (image[0, :, i] - image[0, :, j]) / torch.tensor([10.0, 20.0, 30.0])
            wanted = math.exp(-(rows**2) / 32 - columns**2 / 8 - 0.5 * float(colors.square().sum()))
            assert got[i, j] == pytest.approx(wanted, rel=1e-12)


def test_a_full_covariance_is_the_mahalanobis_distance(exact: Any) -> None:
    generator = torch.Generator().manual_seed(seeded())
    features = torch.randn(1, 3, 6, generator=generator, dtype=torch.float64)
    root = torch.randn(3, 3, generator=generator, dtype=torch.float64)
    covariance = root @ root.T + torch.eye(3, dtype=torch.float64)
    got = matrix_of(FeatureKernel(covariance=covariance).term(field(features=features), ENERGY), exact)
    inverse = torch.linalg.inv(covariance)
    gaps = features[0, :, :, None] - features[0, :, None, :]
    wanted = torch.exp(-0.5 * torch.einsum("aij,ab,bij->ij", gaps, inverse, gaps))
    np.testing.assert_allclose(got, wanted.numpy(), rtol=1e-10)


@pytest.mark.parametrize(
    "kernel",
    [
        SpatialKernel((2.0, 3.0)),
        BilateralKernel(50.0, (3.0, 4.0, 5.0)),
        FeatureKernel((1.0, 2.0)),
        FeatureKernel(covariance=((2.0, 0.5), (0.5, 1.0))),
    ],
)
def test_raw_numbers_lead_back_to_the_widths(kernel: Kernel) -> None:
    again = kernel.with_raw(kernel.raw())
    for name in ("theta_gamma", "theta_alpha", "theta_beta", "theta", "covariance"):
        value = getattr(kernel, name, None)
        if value is not None:
            torch.testing.assert_close(torch.as_tensor(getattr(again, name)), torch.tensor(value))


@pytest.mark.parametrize("width", [0.0, -3.0, math.nan, math.inf, (1.0, 0.0), ()])
def test_widths_are_positive_and_finite(width: Any) -> None:
    with pytest.raises(InputError, match="theta_gamma: wanted positive"):
        SpatialKernel(width)
    with pytest.raises(InputError, match="theta_alpha: wanted positive"):
        BilateralKernel(theta_alpha=width)
    with pytest.raises(InputError, match="theta_beta: wanted positive"):
        BilateralKernel(theta_beta=width)
    with pytest.raises(InputError, match="theta: wanted positive"):
        FeatureKernel(width)


def test_weights_are_positive() -> None:
    with pytest.raises(InputError, match="weight: wanted positive finite numbers, received -1"):
        BilateralKernel(weight=-1.0)


@pytest.mark.parametrize(
    ("covariance", "said"),
    [
        (((1.0, 2.0), (2.0, 1.0)), "positive definite"),
        (((1.0, 0.0), (0.5, 1.0)), "symmetric"),
        (((1.0, 0.0),), "square"),
        (((1.0, math.nan), (math.nan, 1.0)), "NaN"),
    ],
)
def test_a_covariance_is_one(covariance: Any, said: str) -> None:
    with pytest.raises(InputError, match=said):
        FeatureKernel(covariance=covariance)


def test_widths_fit_axes_channels_and_features() -> None:
    image = torch.zeros(1, 3, 6, dtype=torch.float64)
    with pytest.raises(InputError, match="theta_gamma: wanted one width or 2, one for each axis"):
        SpatialKernel((1.0, 2.0, 3.0)).term(field(), ENERGY)
    with pytest.raises(InputError, match="theta_beta: wanted one width or 3"):
        BilateralKernel(theta_beta=(1.0, 2.0)).term(field(image), ENERGY)
    with pytest.raises(InputError, match="covariance: wanted shape"):
        FeatureKernel(covariance=((1.0,),)).term(field(features=image), ENERGY)
