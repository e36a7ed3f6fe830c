from __future__ import annotations

import functools

import pytest
import torch

from densefield.ops.local_filter import pair_distances
from densefield.ops.local_filter.pairs import _distances


@pytest.mark.parametrize("distance", ["l1", "l2", "dot"])
def test_gradcheck(distance):
    embeddings = ((torch.randperm(120).double() + 1).view(2, 3, 4, 5) / 121).requires_grad_()  # no ties to cross
    assert torch.autograd.gradcheck(functools.partial(pair_distances, window=3, distance=distance), (embeddings,))


def test_opcheck():
    torch.library.opcheck(_distances.definition, (torch.rand(1, 2, 4, 5, requires_grad=True), 3, 2, "l1"))
