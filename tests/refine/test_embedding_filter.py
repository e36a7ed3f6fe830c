from __future__ import annotations

import math

import pytest
import torch

from densefield.checks import InputError
from densefield.refine.embedding_filter import EmbeddingFilter
from ops.local_filter.dense import dense_filter


def test_equals_the_dense_sum_and_learns():
    layer = EmbeddingFilter(window=5, iterations=3, initial_lambda=0.7).double()
    scores = torch.randn(2, 3, 8, 9, dtype=torch.float64, requires_grad=True)
    embeddings = torch.randn(2, 4, 8, 9, dtype=torch.float64, requires_grad=True)
    result = layer(scores, embeddings)
    scale = layer.scale.detach().requires_grad_()  # 0.7, kept in single precision at first
    wanted = dense_filter(scores, embeddings, scale, window=5, iterations=3)
    torch.testing.assert_close(result, wanted)
    assert scale.item() == pytest.approx(0.7, rel=1e-6)
    result.square().sum().backward()
    (by_scale,) = torch.autograd.grad(wanted.square().sum(), scale)
    assert layer.log_lambda.grad.item() == pytest.approx(by_scale.item() * scale.item(), rel=1e-9)


def test_sharpens_a_blurred_edge():
    target = torch.zeros(1, 1, 16, 16)
    target[..., 8:] = 1
    embeddings = torch.cat([5 * target, torch.zeros_like(target)], dim=1)
    blurred = torch.nn.functional.avg_pool2d(target, 5, stride=1, padding=2, count_include_pad=False)
    refined = EmbeddingFilter()(blurred, embeddings)
    assert (blurred - target).abs().max() > 0.39
    assert (refined - target).abs().max() < 0.1


def test_lambda_stays_positive_and_may_be_fixed():
    assert not EmbeddingFilter(learn_lambda=False).log_lambda.requires_grad
    layer = EmbeddingFilter(initial_lambda=0.1)
    assert math.isclose(layer.scale.item(), 0.1, rel_tol=1e-6)
    with torch.no_grad():
        layer.log_lambda -= 50
    assert layer.scale.item() > 0
    assert "window=9, iterations=7" in repr(layer)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"window": 8}, "window: .*8"), ({"iterations": 0}, "iterations: .*0"), ({"initial_lambda": 0.0}, "lambda: .*0")],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(InputError, match=message):
        EmbeddingFilter(**options)
