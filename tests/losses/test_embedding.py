from __future__ import annotations

import pytest
import torch

from densefield.checks import InputError
from densefield.losses.embedding import EmbeddingLoss, embedding_loss, embedding_losses
from ops.pair_loss.dense import dense_loss, random_inputs
from rounding import Rounding

EMBEDDINGS, TARGET = torch.zeros(1, 3, 4, 5), torch.zeros(1, 4, 5, dtype=torch.int64)


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
    embeddings, target = random_inputs((1, 2, 4, 4))
    loss = embedding_loss(embeddings, torch.full_like(target, 255))
    loss.backward()
    assert loss.item() == 0
    assert not embeddings.grad.any()


def test_backward_twice_and_module():
    embeddings, target = random_inputs((1, 3, 6, 7))
    loss = EmbeddingLoss(window=5, rate=2)(embeddings, target)
    assert loss == embedding_loss(embeddings, target, window=5, rate=2)
    loss.backward(retain_graph=True)
    once = embeddings.grad.clone()
    loss.backward()
    assert torch.equal(embeddings.grad, 2 * once)


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
    embeddings, target = random_inputs((2, 3, 13, 12))
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
    embeddings, target = random_inputs((1, 3, 9, 8))
    options = {"alpha": 0.3, "beta": 1.1, "distance": "l2", "border": "published", "squared": True, "ignore_index": 2}
    both = sum(embedding_loss(embeddings, target, window=5, rate=rate, **options) for rate in (1, 3))
    torch.testing.assert_close(embedding_losses(embeddings, target, window=5, rates=(1, 3), **options), both)
    with pytest.raises(InputError, match="rates: wanted at least one dilation, such as \\(1, 2, 5\\), received \\(\\)"):
        embedding_losses(embeddings, target, rates=())
