from __future__ import annotations

import pytest
import torch
from torch import Tensor

from densefield.ops.operator import operator


@operator("test_product", advice="; nor will it")
def product(a: Tensor, b: Tensor) -> Tensor:
    return a @ b


@product.fake
def _(a: Tensor, b: Tensor) -> Tensor:
    return a.new_empty((a.shape[0], b.shape[1]))


def _setup_context(ctx, inputs, output):
    ctx.save_for_backward(*inputs)


def _backward(ctx, saved, gradient):
    a, b = saved
    return gradient @ b.T, a.T @ gradient


product.gradient(_backward, _setup_context, once=True)


def test_kernels_and_gradients_run_without_autocast():
    a, b = (torch.randn(5, 5, requires_grad=True) for _ in range(2))
    wanted = product(a, b)
    gradients = torch.autograd.grad(wanted.square().sum(), (a, b))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = product(a, b)
        inside = torch.autograd.grad(found.square().sum(), (a, b))
    assert torch.equal(found, wanted)
    assert found.dtype == torch.float32
    assert all(torch.equal(x, y) for x, y in zip(inside, gradients, strict=True))


def test_derivatives_that_are_not_there_are_refused():
    a, b = (torch.randn(5, 5, requires_grad=True) for _ in range(2))
    (gradient,) = torch.autograd.grad(product(a, b).sum(), a, create_graph=True)
    with pytest.raises(NotImplementedError, match=r"test_product: differentiable once.*; nor will it"):
        torch.autograd.grad(gradient.sum() + b.sum(), b)
    with pytest.raises(NotImplementedError, match=r"test_product: has no derivative in forward mode.*; nor will it"):
        torch.func.jvp(lambda x: product(x, b.detach()), (a.detach(),), (a.detach(),))


def test_opcheck():
    torch.library.opcheck(product.definition, tuple(torch.randn(3, 3, requires_grad=True) for _ in range(2)))
