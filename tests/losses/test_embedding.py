from __future__ import annotations

import functools
import itertools

import pytest
import torch

from densefield.checks import InputError
from densefield.losses.embedding import EmbeddingLoss, embedding_loss, embedding_losses
from densefield.ops import native
from densefield.ops.pair_loss import Options
from densefield.ops.pair_loss.op import _pair_loss
from drawing import seeded
from ops.pair_loss.dense import dense_loss
from rounding import Rounding

SIZES = [(2, 5, 7, 13), (1, 3, 10, 19), (1, 4, 2, 21), (1, 2, 1, 1)]
WINDOWS = [(9, 1), (3, 2), (13, 1), (3, 9)]
OPTIONS = list(itertools.product(["l1", "l2", "dot"], ["valid", "zero", "published"], [True, False], ["mean", "sum"]))


def inputs(size, dtype=torch.float64):
    batch, depth, height, width = size
    generator = torch.Generator().manual_seed(seeded())
    embeddings = torch.randn(batch, depth, height, width, generator=generator, dtype=torch.float64)
    target = torch.randint(0, 3, (batch, height, width), generator=generator)
    target[torch.rand(batch, height, width, generator=generator) < 0.2] = 255
    return embeddings.mul(4).round().div(8).to(dtype).requires_grad_(), target


@pytest.fixture(params=["native", "torch"])
def path(request, monkeypatch):
    if request.param == "torch":
        monkeypatch.setattr(native, "available", lambda: False)
    elif not native.available():
        pytest.skip("the native library is not here")
    return request.param


def options_of(number):
    distance, border, squared, reduction = OPTIONS[number]
    window, rate = WINDOWS[number // 3 % 4]
    options = {"window": window, "rate": rate, "distance": distance, "border": border, "squared": squared}
    return options | {"reduction": reduction, "alpha": 0.53, "beta": 1.97}  # off the grid of distances: no kink is met


@functools.cache
def by_dense_sum(number):  # the same for either type and path
    embeddings, target = inputs(SIZES[number % 4])
    with Rounding(torch.float32) as rounding:
        wanted = dense_loss(embeddings, target, **options_of(number))
        (gradient,) = torch.autograd.grad(3 * wanted, embeddings)
    return rounding.bounds(wanted, gradient)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("number", range(len(OPTIONS)))
def test_equals_the_dense_sum(number, dtype, path):
    options = options_of(number)
    embeddings, target = inputs(SIZES[number % 4], dtype)
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
    target = inputs((1, 3, 3, 4))[1]
    options = {"distance": distance, "border": border, "squared": squared, "reduction": reduction}
    options |= {"alpha": 0.50302, "beta": 1.00702, "window": 5}
    function = functools.partial(embedding_loss, target=target, **options)
    assert torch.autograd.gradcheck(function, (embeddings.requires_grad_(),))


def test_two_pixels_by_hand(path):
    embeddings = torch.tensor([[[[0.0, 1.5]]]], requires_grad=True)
    same, different = torch.tensor([[[4, 4]]]), torch.tensor([[[4, 7]]])
    assert embedding_loss(embeddings, same, window=3).item() == 1.0  # 1.5 - 0.5
    assert embedding_loss(embeddings, different, window=3).item() == 0.5  # 2 - 1.5
    assert embedding_loss(embeddings, different, window=3, squared=True, reduction="sum").item() == 0.25  # both ways
    published = embedding_loss(embeddings, same, window=3, border="published")
    assert published.item() == pytest.approx((2 * 1.0 + 14 * 2.0) / 18)  # 14 places outside, of another label
    embedding_loss(embeddings, same, window=3).backward()
    assert embeddings.grad.tolist() == [[[[-1.0, 1.0]]]]
    embeddings.grad = None
    embedding_loss(embeddings, same, window=3, squared=True).backward()  # ½h² sends h, as the authors' code
    assert embeddings.grad.tolist() == [[[[-1.0, 1.0]]]]
    embeddings.grad = None
    embedding_loss(embeddings, different, window=3, squared=True).backward()
    assert embeddings.grad.tolist() == [[[[0.5, -0.5]]]]


def test_nothing_counted_is_no_loss(path):
    embeddings, target = inputs((1, 2, 4, 4))
    loss = embedding_loss(embeddings, torch.full_like(target, 255))
    loss.backward()
    assert loss.item() == 0
    assert not embeddings.grad.any()


def test_any_number_of_threads_gives_the_same_bits():
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            embeddings, target = inputs((2, 6, 53, 41), torch.float32)
            loss = embedding_loss(embeddings, target)
            results.append((loss, *torch.autograd.grad(loss, embeddings)))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(x, y) for other in results[1:] for x, y in zip(results[0], other, strict=True))


def test_backward_twice_and_module():
    embeddings, target = inputs((1, 3, 6, 7))
    loss = EmbeddingLoss(window=5, rate=2)(embeddings, target)
    assert loss == embedding_loss(embeddings, target, window=5, rate=2)
    loss.backward(retain_graph=True)
    once = embeddings.grad.clone()
    loss.backward()
    assert torch.equal(embeddings.grad, 2 * once)


def test_opcheck(path):
    embeddings, target = inputs((1, 3, 5, 6), torch.float32)
    torch.library.opcheck(_pair_loss.definition, (embeddings, target, True, *Options(3)))


EMBEDDINGS, TARGET = torch.zeros(1, 3, 4, 5), torch.zeros(1, 4, 5, dtype=torch.int64)
BAD = [
    ({"embeddings": torch.zeros(3, 4, 5)}, r"embeddings: .*\(3, 4, 5\)"),
    ({"embeddings": torch.zeros(1, 3, 4, 0)}, r"embeddings: .*\(1, 3, 4, 0\)"),
    ({"embeddings": torch.full((1, 3, 4, 5), torch.nan)}, "embeddings: .*NaN"),
    ({"target": torch.zeros(1, 4, 6, dtype=torch.int64)}, r"target: .*\(1, 4, 5\).*\(1, 4, 6\)"),
    ({"target": torch.zeros(1, 4, 5)}, "target: .*float32"),
    ({"target": TARGET.to("meta")}, "target: .*cpu.*meta"),
    ({"window": 2}, "window: .*2"),
    ({"alpha": -1.0}, "alpha: .*-1"),
    ({"beta": float("inf")}, "beta: .*inf"),
    ({"reduction": "none"}, "reduction: .*'none'"),
]


@pytest.mark.parametrize(("changed", "message"), BAD)
def test_bad_input_is_named(changed, message, path):
    with pytest.raises(InputError, match=message):
        embedding_loss(**({"embeddings": EMBEDDINGS, "target": TARGET} | changed))


def test_losses_are_the_dense_sums_of_three_dilations_together(path):
    embeddings, target = inputs((2, 3, 13, 12))
    dense = embeddings.detach().requires_grad_()
    options = {"alpha": 0.53, "beta": 1.97, "reduction": "sum"}
    with Rounding(torch.float64) as rounding:
        wanted = sum(
            dense_loss(dense, target, window=3, rate=rate, distance="l1", border="valid", squared=False, **options)
            for rate in (1, 2, 5)
        )
        (gradient,) = torch.autograd.grad(wanted, dense)
    loss = embedding_losses(embeddings, target, **options)
    (received,) = torch.autograd.grad(loss, embeddings)
    rounding.within((loss, received), (wanted, gradient))


def test_losses_pass_every_option_on(path):
    embeddings, target = inputs((1, 3, 9, 8))
    options = {"alpha": 0.3, "beta": 1.1, "distance": "l2", "border": "published", "squared": True, "ignore_index": 2}
    both = sum(embedding_loss(embeddings, target, window=5, rate=rate, **options) for rate in (1, 3))
    torch.testing.assert_close(embedding_losses(embeddings, target, window=5, rates=(1, 3), **options), both)
    with pytest.raises(InputError, match="rates: wanted at least one dilation, such as \\(1, 2, 5\\), received \\(\\)"):
        embedding_losses(embeddings, target, rates=())
