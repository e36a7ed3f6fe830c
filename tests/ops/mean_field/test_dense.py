"""The oracle by hand, and the product's own exact path against the oracle."""

from __future__ import annotations

import itertools
import math

import pytest
import torch

from densefield.ops.mean_field import GridTerm, LatticeTerm
from densefield.ops.mean_field.dense import dense_filter
from densefield.ops.mean_field.plain import mean_field_by_ops
from drawing import seeded
from ops.mean_field.dense import dense_mean_field, normalized


def test_one_update_by_hand():
    # Two pixels, two labels, one kernel: softmax(u - c sum_j k_ij q_j), the pixel itself included.
    u = [[-0.3, -1.1], [-0.9, -0.2]]
    k, c = math.exp(-0.5), -2.0
    q = [[math.exp(u[a][i]) / sum(math.exp(u[b][i]) for b in range(2)) for i in range(2)] for a in range(2)]
    wanted = torch.empty(2, 2, dtype=torch.float64)
    for i, a in itertools.product(range(2), range(2)):
        logits = [u[b][i] - c * (q[b][i] + k * q[b][1 - i]) for b in range(2)]
        wanted[a, i] = logits[a] - math.log(sum(map(math.exp, logits)))
    term = LatticeTerm(*(wanted.new_tensor(each) for each in ([[[0.0, 2.0]]], [2.0], c)))
    found = dense_mean_field(wanted.new_tensor(u)[None], [term], iterations=1, normalization="none")
    torch.testing.assert_close(found[0], wanted)


def test_normalised_kernels():
    kernel = torch.rand(1, 6, 6, dtype=torch.float64)
    kernel = kernel + kernel.transpose(1, 2)
    ones = torch.ones(1, 6, dtype=torch.float64)
    torch.testing.assert_close(normalized(kernel, "after").sum(2), ones)
    torch.testing.assert_close(normalized(kernel, "before").sum(1), ones)
    symmetric = normalized(kernel, "symmetric")
    torch.testing.assert_close(symmetric, symmetric.transpose(1, 2))
    assert torch.linalg.eigvalsh(symmetric).max() <= 1 + 1e-12
    assert torch.equal(normalized(kernel, "none"), kernel)


def test_grid_and_feature_terms_agree():
    scores = torch.rand(1, 3, 4, 5, dtype=torch.float64)
    widths, energy = torch.tensor([1.5, 0.8], dtype=torch.float64), torch.tensor(-1.0, dtype=torch.float64)
    places = torch.cartesian_prod(torch.arange(4.0), torch.arange(5.0)).T[None].double()
    a = dense_mean_field(scores, [GridTerm(widths, energy)], iterations=3)
    b = dense_mean_field(scores, [LatticeTerm(places, widths, energy)], iterations=3)
    torch.testing.assert_close(a, b)


@pytest.mark.parametrize("normalization", ["symmetric", "before", "after", "none"])
@pytest.mark.parametrize("kind", [0, 1, 2])
def test_exact_filters_give_what_the_formula_says(normalization, kind):
    generator = torch.Generator().manual_seed(seeded(kind))
    scores, initial = torch.randn(2, 2, 3, 3, 5, generator=generator, dtype=torch.float64)
    energies = 0.1 * torch.randn((3,) * kind, generator=generator, dtype=torch.float64)
    if kind == 2:
        energies = energies + energies.T
    features = 3 * torch.rand(2, 4, 15, generator=generator, dtype=torch.float64)
    widths = torch.tensor([1.5, 0.8, 1.0, 2.0], dtype=torch.float64, requires_grad=True)
    terms = [GridTerm(widths[:2], energies), LatticeTerm(features, widths, 2 * energies)]
    options = {"iterations": 3, "normalization": normalization, "initial": initial}
    found = mean_field_by_ops(scores, terms, **options, kernel_filter=dense_filter)
    wanted = dense_mean_field(scores, terms, **options)
    torch.testing.assert_close(found, wanted)
    gradients = [torch.autograd.grad(out.square().sum(), widths)[0] for out in (found, wanted)]
    torch.testing.assert_close(*gradients)
