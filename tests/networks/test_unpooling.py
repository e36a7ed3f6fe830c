from __future__ import annotations

import pytest
import torch

from densefield.networks.unpooling import Sight, pooled, unpooled


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (7, 13), (8, 5)])
def test_unpooling_and_its_gradient_are_those_of_scattering(size: tuple[int, int]) -> None:
    features = torch.randn(2, 3, *size, dtype=torch.float64)
    maxima, places = pooled(features)
    assert maxima.shape[2:] == (-(-size[0] // 2), -(-size[1] // 2))
    values = torch.randn_like(maxima).requires_grad_()
    ours = unpooled(values, places)
    flat = torch.zeros(2, 3, size[0] * size[1], dtype=torch.float64)
    theirs = flat.scatter(2, places.indices.flatten(2), values.flatten(2)).reshape(features.shape)
    assert torch.equal(ours, theirs)
    weights = torch.randn_like(ours)
    assert torch.equal(*(torch.autograd.grad((made * weights).sum(), values)[0] for made in (ours, theirs)))


def test_what_was_pooled_comes_back_where_the_maxima_stood() -> None:
    features = torch.tensor([[[[1.0, 5.0, 2.0], [3.0, 4.0, 6.0], [9.0, 7.0, 8.0]]]])
    back = unpooled(*pooled(features))
    assert back.tolist() == [[[[0, 5, 0], [0, 0, 6], [9, 0, 8]]]]


def test_a_pooling_sees_the_rest_of_its_cell_and_unpooling_looks_from_both_places() -> None:
    down = Sight().convolved(1).pooled().convolved(1)
    assert down == (3, 4, 2)
    assert down.unpooled() == (4, 4, 1)
