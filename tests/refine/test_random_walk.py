from __future__ import annotations

import itertools

import pytest
import torch

from densefield.checks import InputError
from densefield.ops import native
from densefield.refine.random_walk import path_affinities, random_walk


def affinity(boundary, p, q):
    """Of one pair: the pixels of the box that lie within one pixel of the line."""
    (y0, x0), (y1, x1) = p, q
    length = ((y1 - y0) ** 2 + (x1 - x0) ** 2) ** 0.5
    box = itertools.product(range(min(y0, y1), max(y0, y1) + 1), range(min(x0, x1), max(x0, x1) + 1))
    near = [(y, x) for y, x in box if abs((x - x0) * (y1 - y0) - (y - y0) * (x1 - x0)) / length < 1]
    return 1 - max(boundary[y, x].item() for y, x in near)


def dense_walk(scores, boundary, radius, beta, doublings):
    height, width = boundary.shape
    places = list(itertools.product(range(height), range(width)))
    matrix = torch.eye(len(places), dtype=torch.float64)
    for (i, p), (j, q) in itertools.combinations(enumerate(places), 2):
        if (p[0] - q[0]) ** 2 + (p[1] - q[1]) ** 2 < radius**2:
            matrix[i, j] = matrix[j, i] = affinity(boundary, p, q)
    matrix = matrix**beta
    matrix = matrix / matrix.sum(0)
    for _ in range(doublings):
        matrix = matrix @ matrix
    return ((scores * (1 - boundary)).flatten(1) @ matrix).view_as(scores)


@pytest.mark.parametrize("here", [True, False])
def test_equals_the_squared_matrix(here, monkeypatch):
    if not here:
        monkeypatch.setattr(native, "available", lambda: False)
    scores, boundaries = torch.rand(1, 2, 7, 8, dtype=torch.float64), torch.rand(1, 1, 7, 8, dtype=torch.float64)
    wanted = dense_walk(scores[0], boundaries[0, 0], radius=5, beta=10.0, doublings=8)
    torch.testing.assert_close(random_walk(scores, boundaries)[0], wanted, rtol=1e-9, atol=1e-12)


def test_a_boundary_is_not_crossed():
    boundaries = torch.zeros(1, 1, 12, 12)
    boundaries[..., 6] = 1
    scores = torch.zeros(1, 1, 12, 12)
    scores[..., 2, 2] = 1
    walked = random_walk(scores, boundaries)
    assert walked[..., :6].min() > 0
    assert walked[..., 6:].max() == 0


def test_affinities_stay_within_the_radius():
    values = path_affinities(torch.zeros(1, 1, 20, 20), 5)
    assert (values.amax((0, 2, 3)) > 0).sum() == 34  # as published: 34 half offsets


def test_bad_input_is_named():
    with pytest.raises(InputError, match="boundaries"):
        random_walk(torch.zeros(1, 1, 4, 4), torch.full((1, 1, 4, 4), 2.0))
    with pytest.raises(InputError, match=r"boundaries: .*\(1, 1, 4, 5\)"):
        random_walk(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 5))
