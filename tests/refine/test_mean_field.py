from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from densefield.checks import InputError
from densefield.refine import BilateralKernel, Diagonal, FeatureKernel, Kernel, Matrix, Potts, SpatialKernel, mean_field
from densefield.refine.mean_field import Inference, Normalization, pairwise_terms, run, with_lattices
from drawing import seeded
from rounding import Rounding

SPATIAL = SpatialKernel(theta_gamma=1.5, weight=2.0)


def energies(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return 2 * torch.randn(*shape, generator=torch.Generator().manual_seed(seeded(seed)), dtype=dtype)


def smooth_image(*size: int) -> Tensor:
    """Three channels in [0, 1] with two regions and a ramp, as photographs have: (1, 3, *size)."""
    ramp = torch.linspace(0, 1, math.prod(size), dtype=torch.float64).reshape(size)
    step = (torch.arange(size[-1]) >= size[-1] // 2).double().expand(size)
    return torch.stack([0.2 + 0.6 * step, 0.5 - 0.3 * step + 0.1 * ramp, 0.4 * ramp])[None]


def hold(wanted: Any, infer: Callable[[], Tensor]) -> None:
    """Hold float64 marginals to those of the formula, to within what the ops that give them round.

    Weights and energies must be numbers that single precision holds: the kernels keep them so, and 0.4 is off by 6e-9.
    """
    with Rounding(torch.float64) as rounding:
        found = infer().exp()
    assert found.dtype == torch.float64
    rounding.within([torch.from_numpy(wanted).reshape(found.shape)], [found])


@pytest.mark.parametrize("normalization", ["symmetric", "before", "after", "none"])
@pytest.mark.parametrize("size", [(17,), (5, 6), (3, 4, 2)])
def test_spatial_kernels_are_exact_on_any_number_of_axes(
    exact: Any, size: tuple[int, ...], normalization: Normalization
) -> None:
    unary = energies(1, 3, *size)
    kernel = exact.normalized(exact.kernel_matrix(exact.places(*size) / 1.5), normalization)
    wanted = exact.mean_field(unary[0].flatten(1).numpy(), [(kernel, -0.375 * np.eye(3))], 4)
    hold(wanted, lambda: mean_field(unary, [SpatialKernel(1.5, 0.375)], Potts(), 4, normalization=normalization))


@pytest.mark.parametrize(
    ("compatibility", "dense"),
    [
        (Potts(0.5), -0.5 * np.eye(3)),
        (Diagonal((-1.0, 0.5, -2.0)), np.diag([-1.0, 0.5, -2.0])),
        (Matrix(((-1.0, 0.375, 0.0), (0.0, 0.0, 1.0), (0.25, 0.0, 2.0))), None),
    ],
)
def test_compatibilities_are_energies_times_the_weight(exact: Any, compatibility: Any, dense: Any) -> None:
    if dense is None:
        given = np.array(compatibility.values)
        dense = (given + given.T) / 2
    unary = energies(1, 3, 4, 5)
    kernel = exact.normalized(exact.kernel_matrix(exact.places(4, 5) / 1.5), "symmetric")
    wanted = exact.mean_field(unary[0].flatten(1).numpy(), [(kernel, 2.0 * dense)], 3)
    hold(wanted, lambda: mean_field(unary, [SPATIAL], compatibility, 3))


def test_each_kernel_may_have_its_own_compatibility(exact: Any) -> None:
    unary = energies(1, 2, 4, 5)
    kernels = [SpatialKernel(1.0, 1.0), SpatialKernel(3.0, 0.5)]
    pairs = [
        (exact.normalized(exact.kernel_matrix(exact.places(4, 5)), "symmetric"), -np.eye(2)),
        (exact.normalized(exact.kernel_matrix(exact.places(4, 5) / 3), "symmetric"), 0.5 * np.diag([1.0, -1.0])),
    ]
    wanted = exact.mean_field(unary[0].flatten(1).numpy(), pairs, 3)
    hold(wanted, lambda: mean_field(unary, kernels, [Potts(), Diagonal((1.0, -1.0))], 3))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_bilateral_kernels_are_near_the_exact_ones(exact: Any, dtype: torch.dtype) -> None:
    size = (12, 14)
    image = smooth_image(*size)
    features = np.concatenate([exact.places(*size) / 6.0, image[0].flatten(1).numpy() * 255 / 30.0])
    kernel = exact.normalized(exact.kernel_matrix(features), "symmetric")
    for_all = [BilateralKernel(6.0, 30.0, 3.0)]
    plain = accurate = 0.0
    fields = 12  # how much more shifts gain differs from field to field
    for seed in range(fields):
        unary = energies(1, 3, *size, seed=seed)
        wanted = exact.mean_field(unary[0].flatten(1).numpy(), [(kernel, -3.0 * np.eye(3))], 5)

        def error(got: Tensor, wanted: Any = wanted) -> float:
            return float(np.abs(got.exp()[0].flatten(1).double().numpy() - wanted).mean()) / fields

        given = {"iterations": 5, "image": image.to(dtype)}
        plain += error(mean_field(unary.to(dtype), for_all, **given))
        accurate += error(mean_field(unary.to(dtype), for_all, **given, accurate=True))
    assert plain < 0.004  # the lattice's own error; without the kernel it is 0.033
    assert accurate < 0.8 * plain


@pytest.mark.parametrize("normalization", ["symmetric", "before", "after", "none"])
def test_dense_kernels_are_exact(exact: Any, normalization: Normalization) -> None:
    size = (5, 6)
    unary, image = energies(1, 3, *size), smooth_image(*size)
    features = np.concatenate([exact.places(*size) / 6.0, image[0].flatten(1).numpy() * 255 / 30.0])
    kernel = exact.normalized(exact.kernel_matrix(features), normalization)
    wanted = exact.mean_field(unary[0].flatten(1).numpy(), [(kernel, -0.3125 * np.eye(3))], 5)
    kernels = [BilateralKernel(6.0, 30.0, 0.3125)]
    given = {"iterations": 5, "normalization": normalization, "dense": True}
    leaf = unary.clone().requires_grad_()
    hold(wanted, lambda: mean_field(leaf, kernels, image=image, **given))
    hold(wanted, lambda: mean_field(leaf, kernels, image=image, recompute=True, **given))
    narrow, colors = unary.float(), image.float()
    with Rounding(torch.float32) as rounding:
        double = mean_field(narrow.double(), kernels, image=colors.double(), **given)
    single = mean_field(narrow, kernels, image=colors, **given)
    assert single.dtype == torch.float32
    rounding.within([single], [double])


def test_volumes_video_and_points_are_near_the_exact_ones(exact: Any) -> None:
    size = (4, 5, 6)
    unary, image = energies(1, 2, *size), smooth_image(*size)
    features = np.concatenate([exact.places(*size) / 3.0, image[0].flatten(1).numpy() * 255 / 40.0])
    kernel = exact.normalized(exact.kernel_matrix(features), "symmetric")
    wanted = exact.mean_field(unary[0].flatten(1).numpy(), [(kernel, -2.0 * np.eye(2))], 3)
    volume = mean_field(unary, [BilateralKernel(3.0, 40.0, 2.0)], iterations=3, image=image)
    assert np.abs(volume.exp()[0].flatten(1).numpy() - wanted).mean() < 0.006
    points = torch.from_numpy(features)[None]
    cloud = mean_field(unary.flatten(2), [FeatureKernel(1.0, 2.0)], iterations=3, features=points)
    assert np.abs(cloud.exp()[0].numpy() - wanted).mean() < 0.006


def test_every_number_has_a_gradient() -> None:
    unary = energies(1, 2, 3, 4).requires_grad_()
    theta = torch.tensor([1.2, 2.0], dtype=torch.float64, requires_grad=True)
    weight = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
    values = torch.tensor([[-1.0, 0.3], [0.3, 0.2]], dtype=torch.float64, requires_grad=True)

    def infer(unary: Tensor, theta: Tensor, weight: Tensor, values: Tensor) -> Tensor:
        return mean_field(unary, [SpatialKernel(theta, weight)], Matrix(values), 3)

    assert torch.autograd.gradcheck(infer, (unary, theta, weight, values))


def test_gradients_through_the_lattice_follow_the_exact_ones() -> None:
    size = (8, 9)
    image, target = smooth_image(*size), (torch.arange(9) >= 4).long().expand(1, *size)
    grads = []
    for dense in (False, True):
        unary = energies(1, 2, *size).requires_grad_()
        if dense:
            places = torch.cartesian_prod(torch.arange(8.0), torch.arange(9.0)).T.double()
            features = torch.cat([places / 5, image[0].flatten(1) * 255 / 30])
            kernel = torch.exp(-0.5 * torch.cdist(features.T, features.T).square())
            kernel = kernel / (kernel.sum(0)[:, None] * kernel.sum(1)).sqrt()
            log_q = torch.log_softmax(-unary.flatten(2), 1)
            for _ in range(3):
                log_q = torch.log_softmax(-unary.flatten(2) + 2 * log_q.exp() @ kernel, 1)
            log_q = log_q.reshape(unary.shape)
        else:
            log_q = mean_field(unary, [BilateralKernel(5.0, 30.0, 2.0)], iterations=3, image=image)
        torch.nn.functional.nll_loss(log_q, target).backward()
        assert unary.grad is not None
        grads.append(unary.grad.flatten())
    assert float(torch.cosine_similarity(grads[0], grads[1], dim=0)) > 0.99


@pytest.mark.parametrize("kernels", [[SPATIAL], [SPATIAL, BilateralKernel(5.0, 30.0, 2.0)]])
def test_recomputing_iterations_changes_no_gradient(kernels: list[Kernel]) -> None:
    grads = []
    for recompute in (False, True):
        unary = energies(1, 2, 6, 7).requires_grad_()
        weight = torch.tensor(1.5, dtype=torch.float64, requires_grad=True)
        varied = [type(kernel)(weight=weight) for kernel in kernels]  # type: ignore[call-arg]
        log_q = mean_field(unary, varied, iterations=5, image=smooth_image(6, 7), recompute=recompute)
        grads.append(torch.autograd.grad(log_q[:, 0].sum(), (unary, weight)))
    for plain, again in zip(*grads, strict=True):
        torch.testing.assert_close(again, plain)


def test_bound_terms_serve_step_by_step() -> None:
    unary, image = energies(1, 3, 6, 7, dtype=torch.float32), smooth_image(6, 7).float()
    kernels = [SPATIAL, BilateralKernel(5.0, 30.0, 2.0)]
    terms = with_lattices(pairwise_terms(unary, kernels, image=image))
    log_q = torch.log_softmax(-unary, 1)
    for _ in range(4):
        log_q = run(-unary, terms, Inference(1, half=False), log_q)
    with Rounding(torch.float32) as rounding:
        wanted = run(-unary.double(), terms, Inference(4))
    for found in (log_q, run(-unary, terms, Inference(4, half=False))):
        rounding.within([found], [wanted])


def test_without_kernels_or_iterations_it_is_a_softmax() -> None:
    unary = energies(2, 3, 4, 5)
    torch.testing.assert_close(mean_field(unary, []), torch.log_softmax(-unary, 1))
    torch.testing.assert_close(mean_field(unary, [SPATIAL], iterations=0), torch.log_softmax(-unary, 1))


IMAGE = smooth_image(4, 5)


@pytest.mark.parametrize(
    ("kernels", "more", "said"),
    [
        ([BilateralKernel()], {}, "image: a BilateralKernel looks at it; received none"),
        ([BilateralKernel()], {"image": IMAGE[:, :, :3]}, r"image: wanted shape \(1, channels, 4, 5\)"),
        ([BilateralKernel()], {"image": IMAGE[0]}, r"received \(3, 4, 5\)"),
        ([BilateralKernel()], {"image": IMAGE * 255}, r"image: wanted uint8, or floating-point values in \[0, 1\]"),
        ([BilateralKernel()], {"image": (IMAGE * 255).int()}, "received torch.int32"),
        ([BilateralKernel()], {"image": IMAGE * math.nan}, "image: holds NaN"),
        ([BilateralKernel(theta_beta=1e-38)], {"image": IMAGE}, "width"),
        ([FeatureKernel()], {}, "features: wanted 1, one for each FeatureKernel, received 0"),
        ([FeatureKernel()], {"features": torch.zeros(1, 17, 4, 5)}, "features: wanted 1 to 16 dimensions, received 17"),
        ([FeatureKernel()], {"features": torch.zeros(1, 2, 5, 4)}, "features: wanted shape"),
        ([FeatureKernel()], {"features": torch.full((1, 2, 4, 5), math.inf)}, "features: holds NaN or Inf"),
        ([SPATIAL], {"compatibility": Diagonal((1.0, 2.0))}, "compatibility: wanted energies for 3 labels, received 2"),
        ([SPATIAL], {"compatibility": [Potts(), Potts()]}, "compatibility: wanted one for all kernels or 1"),
        ([SPATIAL], {"iterations": -1}, "iterations: wanted 0 or more"),
        ([SPATIAL], {"normalization": "rows"}, "normalization: wanted one of"),
        ([SPATIAL], {"prune": 1.5}, "prune: wanted"),
    ],
)
def test_what_does_not_fit_is_named(kernels: list[Kernel], more: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        mean_field(energies(1, 3, 4, 5), kernels, **more)


def test_unary_energies_are_checked() -> None:
    with pytest.raises(InputError, match=r"unary: wanted a tensor \(B, K, \*size\)"):
        mean_field(torch.zeros(3, 4), [SPATIAL])
    with pytest.raises(InputError, match="unary: wanted a floating-point tensor"):
        mean_field(torch.zeros(1, 2, 3, 4, dtype=torch.int64), [SPATIAL])
    for wrong in (math.nan, -math.inf):
        with pytest.raises(InputError, match="unary: holds NaN or Inf; wanted finite numbers, or Inf for a label"):
            mean_field(torch.full((1, 2, 3, 4), wrong), [SPATIAL])
    with pytest.raises(InputError, match=r"unary: holds Inf for all labels of 12 pixels, the first at \(0, 0\)"):
        mean_field(torch.full((1, 2, 3, 4), math.inf), [SPATIAL])
    assert mean_field(torch.zeros(0, 2, 3, 4), [SPATIAL]).shape == (0, 2, 3, 4)
