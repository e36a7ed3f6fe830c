from __future__ import annotations

import pytest
import torch

from densefield.ops.precision import cholesky, matmul, solve_lower


def _positive(size: int) -> torch.Tensor:
    root = torch.randn(size, size)
    return root @ root.T + size * torch.eye(size)


CASES = {
    "matmul": (matmul, torch.matmul, lambda: (torch.randn(2, 3, 4), torch.randn(4, 5))),
    "cholesky": (cholesky, torch.linalg.cholesky, lambda: (_positive(4),)),
    "solve_lower": (
        solve_lower,
        lambda a, b: torch.linalg.solve_triangular(a, b, upper=False),
        lambda: (_positive(3).tril(), torch.randn(2, 3, 6)),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_values_and_both_gradients_are_those_without_autocast(name):
    ours, theirs, draw = CASES[name]
    given = [x.requires_grad_() for x in draw()]

    def results(compute):
        output = compute(*given)
        first = torch.autograd.grad(output.sin().sum(), given, create_graph=True)
        second = torch.autograd.grad(sum(x.square().sum() for x in first), given)
        return [x.detach() for x in (output, *first, *second)]

    wanted = results(theirs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = results(ours)
    for mine, other in zip(found, wanted, strict=True):
        assert mine.dtype == torch.float32
        # bfloat16 is off by 2^-9 of the largest, some hundred roundings in float32 by less than 2^-16
        assert (mine - other).abs().max() < 2**-16 * other.abs().max()


def test_what_is_not_positive_definite_has_no_factor():
    assert cholesky(torch.tensor([[1.0, 2.0], [2.0, 1.0]])).isnan().any()
