from __future__ import annotations

import functools
import itertools

import pytest
import torch

from densefield.losses.embedding import embedding_loss
from densefield.ops.pair_loss import Options
from densefield.ops.pair_loss.op import _pair_loss
from ops.pair_loss.dense import dense_loss, random_inputs
from rounding import Rounding

SIZES = [(2, 5, 7, 13), (1, 3, 10, 19), (1, 4, 2, 21), (1, 2, 1, 1)]
WINDOWS = [(9, 1), (3, 2), (13, 1), (3, 9)]
OPTIONS = list(itertools.product(["l1", "l2", "dot"], ["valid", "zero", "published"], [True, False], ["mean", "sum"]))


def options_of(number):
    distance, border, squared, reduction = OPTIONS[number]
    window, rate = WINDOWS[number // 3 % 4]
    options = {"window": window, "rate": rate, "distance": distance, "border": border, "squared": squared}
    return options | {"reduction": reduction, "alpha": 0.53, "beta": 1.97}  # off the grid of distances: no kink is met


@functools.cache
def by_dense_sum(number):  # the same for either type and path
    embeddings, target = random_inputs(SIZES[number % 4])
    with Rounding(torch.float32) as rounding:
        wanted = dense_loss(embeddings, target, **options_of(number))
        (gradient,) = torch.autograd.grad(3 * wanted, embeddings)
    return rounding.bounds(wanted, gradient)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("number", range(len(OPTIONS)))
def test_equals_the_dense_sum(number, dtype, path):
    options = options_of(number)
    embeddings, target = random_inputs(SIZES[number % 4], dtype)
    loss = embedding_loss(embeddings, target, **options)
    (gradient,) = torch.autograd.grad(3 * loss, embeddings)
    by_dense_sum(number).hold((loss, gradient), dtype)
    with torch.no_grad():
        assert embedding_loss(embeddings, target, **options) == loss


@pytest.mark.parametrize("number", range(0, len(OPTIONS), 7))
def test_gradcheck(number, path):
    distance, border, squared, reduction = OPTIONS[number]
    # Multiples of 1/37: no two are equal, and no distance comes within 1e-5 of a hinge, which differences would cross.
    embeddings = (torch.randperm(36).double() + 1).view(1, 3, 3, 4) / 37
    target = random_inputs((1, 3, 3, 4))[1]
    options = {"distance": distance, "border": border, "squared": squared, "reduction": reduction}
    options |= {"alpha": 0.50302, "beta": 1.00702, "window": 5}
    function = functools.partial(embedding_loss, target=target, **options)
    assert torch.autograd.gradcheck(function, (embeddings.requires_grad_(),))


def test_any_number_of_threads_gives_the_same_bits():
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            embeddings, target = random_inputs((2, 6, 53, 41), torch.float32)
            loss = embedding_loss(embeddings, target)
            results.append((loss, *torch.autograd.grad(loss, embeddings)))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(x, y) for other in results[1:] for x, y in zip(results[0], other, strict=True))


def test_opcheck(path):
    embeddings, target = random_inputs((1, 3, 5, 6), torch.float32)
    torch.library.opcheck(_pair_loss.definition, (embeddings, target, True, *Options(3)))


EMBEDDINGS, TARGET = torch.zeros(1, 3, 4, 5), torch.zeros(1, 4, 5, dtype=torch.int64)
