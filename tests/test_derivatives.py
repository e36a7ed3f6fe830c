"""A gradient's gradient, and forward mode, through each layer: right, or an error; never without the layer's part."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad

from densefield.derivatives import differentiable_once
from densefield.losses import cross_entropy, dice_loss, embedding_loss
from densefield.networks.dense_block import DenseBlock
from densefield.ops.gaussian import gaussian_filter
from densefield.ops.local_filter import filter_by_masks, pair_distances
from densefield.ops.permutohedral import build_lattice, lattice_filter
from densefield.refine import (
    BilateralKernel,
    DenseCRF,
    EmbeddingFilter,
    SpatialKernel,
    joint_bilateral_filter,
    pamr,
    random_walk,
    segmentation_aware_conv2d,
)

K, SIZE = 3, (5, 6)


def _given(seed: int, *shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


SCORES, EMBEDDINGS, IMAGE = _given(0, 1, K, *SIZE), _given(1, 1, 4, *SIZE), _given(2, 1, 3, *SIZE).sigmoid()
TARGET = SCORES.argmax(1)
WEIGHT = _given(3, 2, K, 3, 3)
LATTICE = build_lattice(EMBEDDINGS.flatten(2))


def _crf(dtype: torch.dtype = torch.float64, **options: object) -> Callable[[Tensor], Tensor]:
    kernels = (SpatialKernel(2.0, 1.0), BilateralKernel(8.0, 60.0, 2.0))
    crf = DenseCRF(K, kernels=kernels, iterations=3, **options)
    return lambda x: crf(x.to(dtype), IMAGE)


def _free_energy(x: Tensor) -> Tensor:
    crf = DenseCRF(K, kernels=(SpatialKernel(2.0, 1.0), BilateralKernel(8.0, 60.0, 2.0)))
    return crf.free_energy(x.softmax(1), x, IMAGE)


def _block(checkpointing: bool, training: bool) -> Callable[[Tensor], Tensor]:
    torch.manual_seed(0)
    block = DenseBlock(K, 2, 2, 0.0, keep_input=True, checkpointing=checkpointing).double().train(training)
    return lambda x: block(x)


FILTER = EmbeddingFilter(window=3, iterations=2).double()
ONCE: dict[str, Callable[[Tensor], Tensor]] = {
    "crf": _crf(torch.float32),
    "crf, recompute": _crf(torch.float32, recompute=True),
    "crf, accurate": _crf(torch.float32, accurate=True),
    "crf, prune": _crf(torch.float32, prune=0.3),
    "embedding filter": lambda x: FILTER(x, EMBEDDINGS),
    "embedding filter by embeddings": lambda x: FILTER(SCORES, x),
    "joint bilateral": lambda x: joint_bilateral_filter(x, IMAGE),
    "segmentation-aware by embeddings": lambda x: segmentation_aware_conv2d(
        SCORES, x, WEIGHT, None, torch.ones((), dtype=torch.float64)
    ),
    "pair distances": lambda x: pair_distances(x, distance="l2"),
    "embedding loss, l2": lambda x: embedding_loss(x, TARGET, window=3, distance="l2"),
    "embedding loss, squared": lambda x: embedding_loss(x, TARGET, window=3, squared=True),
    "dense block": _block(False, True),
    "dense block, checkpointing": _block(True, False),
}
TWICE: dict[str, Callable[[Tensor], Tensor]] = {
    "crf, float64": _crf(),
    "crf, float64, recompute": _crf(recompute=True),
    "crf, dense": _crf(dense=True),
    "free energy": _free_energy,
    "lattice filter": lambda x: lattice_filter(x.flatten(2), LATTICE),
    "gaussian filter": lambda x: gaussian_filter(x, 1.3),
    "pamr": lambda x: pamr(x, IMAGE, iterations=2),
    "segmentation-aware": lambda x: segmentation_aware_conv2d(
        x, EMBEDDINGS, WEIGHT, None, torch.ones((), dtype=torch.float64)
    ),
    "embedding loss": lambda x: embedding_loss(x, TARGET, window=3, border="zero"),
    "cross-entropy": lambda x: cross_entropy(x, TARGET),
    "dice": lambda x: dice_loss(x, TARGET),
}
FORWARD = ("crf, dense", "pamr", "cross-entropy", "dice", "segmentation-aware")
ALL = {**ONCE, **TWICE, "random walk": lambda x: random_walk(x.exp(), IMAGE[:, :1], steps=2)}


def _loss(layer: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    # The sum's other part has a gradient of its own, behind which one left out would hide.
    return lambda x: layer(x).sin().sum().double() + x.square().sum()


def _penalty(layer: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    (gradient,) = torch.autograd.grad(_loss(layer)(x), x, create_graph=True)
    return gradient.square().sum()


@pytest.mark.parametrize("name", ONCE)
def test_a_gradient_of_the_gradient_is_refused(name):
    x = SCORES.clone().requires_grad_()
    penalty = _penalty(ONCE[name], x)
    with pytest.raises(NotImplementedError, match="differentiable once; a gradient of its gradient was asked for"):
        torch.autograd.grad(penalty, x)
    # A sum alone hands a gradient over that depends on nothing; the saved tensors do.
    (gradient,) = torch.autograd.grad(ONCE[name](x).sum() + x.sum(), x, create_graph=True)
    with pytest.raises(NotImplementedError, match="differentiable once"):
        torch.autograd.grad(gradient.square().sum(), x)


@pytest.mark.parametrize("name", TWICE)
def test_a_gradient_of_the_gradient_is_that_of_finite_differences(name):
    x, direction, step = SCORES.clone().requires_grad_(), _given(4, *SCORES.shape), 1e-5
    (found,) = torch.autograd.grad(_penalty(TWICE[name], x), x)
    ends = [_penalty(TWICE[name], (SCORES + s * direction).requires_grad_()).detach() for s in (step, -step)]
    torch.testing.assert_close((found * direction).sum(), (ends[0] - ends[1]) / (2 * step), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("way", ["torch.func", "dual numbers"])
def test_forward_mode_is_right_or_refused(name, way):
    x, direction, step = SCORES.clone(), _given(4, *SCORES.shape), 1e-6
    loss = _loss(ALL[name])

    def tangent() -> Tensor:
        if way == "torch.func":
            return torch.func.jvp(loss, (x,), (direction,))[1]
        with forward_ad.dual_level():
            return forward_ad.unpack_dual(loss(forward_ad.make_dual(x, direction))).tangent

    if name in FORWARD:
        ends = [loss(SCORES + s * direction) for s in (step, -step)]
        torch.testing.assert_close(tangent(), (ends[0] - ends[1]) / (2 * step), rtol=1e-6, atol=1e-6)
    else:
        with pytest.raises((NotImplementedError, RuntimeError), match=r"forward mode|jvp|forward AD|functorch"):
            tangent()


def test_a_mask_filter_takes_no_tangents():
    masks = torch.rand(1, 4, *SIZE, dtype=torch.float64)
    with pytest.raises(NotImplementedError, match="filter_by_masks: has no derivative in forward mode"):
        torch.func.jvp(lambda x: filter_by_masks(x, masks, window=3), (SCORES,), (SCORES,))


@pytest.mark.parametrize("name", ["crf", "embedding filter", "embedding loss", "gaussian filter"])
@pytest.mark.parametrize("transform", [torch.func.grad, torch.func.hessian])
def test_other_transforms_are_right_or_refused(name, transform):
    loss = _loss(ALL[name])
    try:
        found = transform(loss)(SCORES)
    except RuntimeError:  # torch 2.13 knows custom operators in none of them
        return
    exact = torch.autograd.functional.hessian if transform is torch.func.hessian else torch.autograd.functional.jacobian
    torch.testing.assert_close(found, exact(loss, SCORES), rtol=1e-6, atol=1e-6)


def test_a_graph_of_the_gradient_alone_changes_nothing():
    x = SCORES.clone().requires_grad_()
    layer = ONCE["embedding filter"]
    once, again = (torch.autograd.grad(layer(x).sin().sum(), x, create_graph=graph)[0] for graph in (False, True))
    assert torch.equal(once, again)


def test_what_is_not_a_tensor_stays_as_it_is():
    class Twice(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, other):
            ctx.save_for_backward(x)
            return 2 * x

        @staticmethod
        def gradient(ctx, saved, gradient):
            return 2 * gradient, None

        backward = staticmethod(differentiable_once("Twice", gradient, "; use another"))

    x = torch.ones(2, requires_grad=True)
    (gradient,) = torch.autograd.grad(Twice.apply(x, None).sum(), x, create_graph=True)
    with pytest.raises(NotImplementedError, match=r"Twice: differentiable once; a .* was asked for; use another"):
        gradient.sum().backward()
