from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from densefield.ops.mean_field import GridTerm, LatticeTerm, mean_field
from densefield.ops.mean_field.op import loop
from densefield.ops.mean_field.plain import mean_field_by_ops
from densefield.ops.mean_field.terms import lattices_of
from densefield.ops.permutohedral import build_lattice
from drawing import seeded
from ops.mean_field.dense import dense_mean_field
from rounding import Rounding, unit_roundoff


def leaves(labels: int, kind: int, dtype: torch.dtype = torch.float32, seed: int = 3) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seeded(seed))
    energies = torch.tensor(-1.5) if kind == 0 else -1 - torch.rand(labels, generator=generator)
    if kind == 2:
        energies = torch.diag(energies) + 0.1 * torch.ones(labels, labels)
    found = {
        "scores": torch.randn(1, labels, 10, 14, generator=generator),
        "initial": torch.randn(1, labels, 10, 14, generator=generator),
        "grid_widths": torch.tensor([2.0, 1.5]),
        "grid_energies": energies,
        "features": 12 * torch.rand(1, 3, 140, generator=generator),
        "widths": torch.tensor([6.0, 7.0, 8.0]),
        "energies": 1.5 * energies,
    }
    return {name: leaf.to(dtype).requires_grad_() for name, leaf in found.items()}


def gradients(function, x, normalization, names, **options):
    scale = 0.05 if normalization == "none" else 1.0  # sums are large; saturated marginals have no gradient to compare
    features = x["features"] if "features" in names else x["features"].detach()
    lattice = build_lattice((features / x["widths"][:, None]).detach().float())  # one for both, whatever is rounded
    terms = [
        GridTerm(x["grid_widths"], scale * x["grid_energies"]),
        LatticeTerm(features, x["widths"], scale * x["energies"], lattice),
    ]
    initial = x["initial"] if "initial" in names else None
    out = function(x["scores"], terms, iterations=4, normalization=normalization, initial=initial, **options)
    weights = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).sin().reshape(out.shape)
    return torch.autograd.grad((weights * out).sum(), [x[name] for name in names])


@pytest.mark.parametrize("kind", [0, 1, 2])
@pytest.mark.parametrize("labels", [3, 21, 40])
@pytest.mark.parametrize("normalization", ["symmetric", "before", "after", "none"])
@pytest.mark.parametrize("free", [False, True])
def test_equal_those_of_the_ops(kind, labels, normalization, free):
    names = ["scores", "grid_widths", "grid_energies", "widths", "energies"] + (["initial", "features"] if free else [])
    mine = gradients(mean_field, leaves(labels, kind), normalization, names, half=False)
    with Rounding(torch.float32) as rounding:
        wanted = gradients(mean_field_by_ops, leaves(labels, kind, torch.float64), normalization, names)
    rounding.within(mine, wanted)
    # Through four iterations and a sum over all pixels, the worst roundings never meet: training needs this much.
    for name, a, b in zip(names, mine, wanted, strict=True):
        assert (a - b).norm() < 2e-3 * b.norm() + 1e-6, name


@pytest.mark.parametrize(("d", "axes"), [(1, 1), (5, 2), (6, 2), (11, 2)])
def test_by_widths_of_any_number(d, axes):
    generator = torch.Generator().manual_seed(seeded(d))
    points, labels = 90, 6
    size = (points,) if axes == 1 else (9, 10)
    scores, features = torch.randn(1, labels, *size, generator=generator), torch.rand(1, d, points, generator=generator)
    widths = torch.full((d,), 0.8)
    term = LatticeTerm(features, widths, torch.tensor(-2.0), shifts=2, fill_rows=1 << 20)
    lattices = lattices_of(term)  # built once, so that both round the same features

    def by_widths(dtype, function, **options):
        widths = [torch.full((n,), 0.8, dtype=dtype, requires_grad=True) for n in (axes, d)]
        terms = [
            GridTerm(widths[0], torch.tensor(-1.0, dtype=dtype)),
            replace(term, features=features.to(dtype), widths=widths[1], lattice=lattices),
        ]
        out = function(scores.to(dtype), terms, iterations=3, normalization="symmetric", **options)
        weights = torch.linspace(-1, 1, out.numel(), dtype=dtype).sin().reshape(out.shape)
        return torch.autograd.grad((weights * out).sum(), widths)

    with Rounding(torch.float32) as rounding:
        wanted = by_widths(torch.float64, mean_field_by_ops, initial=None)
    rounding.within(by_widths(torch.float32, mean_field, half=False), wanted)


def test_half_precision_costs_little():
    names, fields, iterations = ["scores", "grid_widths", "widths", "energies"], 12, 4
    apart, sizes = torch.zeros(4, dtype=torch.float64), torch.zeros(4, dtype=torch.float64)
    for seed in range(fields):  # a sum over all pixels of terms of both signs comes near 0 in some field
        mine = gradients(mean_field, leaves(21, 0, seed=seed), "symmetric", names)
        wanted = gradients(mean_field_by_ops, leaves(21, 0, torch.float64, seed), "symmetric", names)
        apart += torch.stack([(a - b).square().sum() for a, b in zip(mine, wanted, strict=True)])
        sizes += torch.stack([b.square().sum() for b in wanted])
    # Over fields, terms of either sign add up as their squares do, and so do their roundings. An iteration stores Q,
    # the grid's lines, the lattice's sums before and after each of its 4 axes: none moves a logit by more than it is
    # rounded itself, as messages times their energies are below 1. It reads energies less the least of 21, stored as
    # well: 5 roundings in mean square. What the grid's taps leave out, 1e-4 of the whole an axis, has one sign.
    stored = iterations * (1 + 1 + 5 + 5)
    bound = stored**0.5 * unit_roundoff(torch.float16) + iterations * 2 * 1e-4
    for name, ratio in zip(names, (apart / sizes).sqrt(), strict=True):
        assert ratio < bound, name


def test_near_those_of_the_dense_mean_field():
    names = ["scores", "widths", "energies"]
    apart, sizes = torch.zeros(3, dtype=torch.float64), torch.zeros(3, dtype=torch.float64)
    for seed in range(12):  # how near the lattice comes differs from field to field, most by the widths
        mine = gradients(mean_field, leaves(5, 0, seed=seed), "symmetric", names)
        wanted = gradients(dense_mean_field, leaves(5, 0, torch.float64, seed), "symmetric", names)
        apart += torch.stack([(a - b).square().sum() for a, b in zip(mine, wanted, strict=True)])
        sizes += torch.stack([b.square().sum() for b in wanted])
    for name, bound, ratio in zip(names, (0.1, 0.3, 0.2), (apart / sizes).sqrt(), strict=True):
        assert ratio < bound, name


def loop_arguments(scores, half=False):
    features = torch.rand(1, 3, 12)
    energies, widths = [torch.tensor(-1.0, requires_grad=True)] * 2, [torch.ones(2), torch.ones(3)]
    lattices = list(build_lattice(features))
    return scores, None, energies, widths, [features], lattices, [1], 2, "symmetric", half, True


def test_opcheck():
    scores = torch.randn(2, 3, 4, requires_grad=True)
    torch.library.opcheck(
        loop.definition,
        loop_arguments(scores),
        test_utils=("test_schema", "test_autograd_registration", "test_faketensor"),
    )


@pytest.mark.parametrize("labels", [2, 5])
def test_doubt_is_a_value_of_the_loop(labels):
    scores = torch.randn(labels, 3, 4)
    for wrong, doubt in ((None, 0), (torch.nan, 1), (torch.inf, 1), (-torch.inf, 1), (-1e32, 1)):
        given = scores.clone()
        if wrong is not None:
            given[1, 2, 3] = wrong
        *_, doubtful = loop(*loop_arguments(given))
        assert doubtful.tolist() == [doubt]
    given[1, 2, 3] = -1e5
    assert [int(loop(*loop_arguments(given, half))[2]) for half in (False, True)] == [0, 1]
