from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from densefield.checks import InputError
from densefield.ops.mean_field import GridTerm, LatticeTerm, mean_field
from densefield.ops.mean_field.plain import mean_field_by_ops
from densefield.ops.mean_field.terms import lattices_of
from densefield.ops.permutohedral import build_lattice
from drawing import seeded
from ops.mean_field.dense import dense_mean_field
from rounding import Rounding, in_float64, sums_to_one

Terms = list[GridTerm | LatticeTerm]


def random_scores(labels: int, size: tuple[int, ...], batch: int = 1) -> torch.Tensor:
    logits = 2 * torch.randn(batch, labels, *size, generator=torch.Generator().manual_seed(seeded(labels)))
    return torch.log_softmax(logits, 1)


def random_terms(scores: torch.Tensor, kind: int = 0, grid: bool = True, scale: float = 1.0) -> Terms:
    generator = torch.Generator().manual_seed(seeded(7))
    labels, points = scores.shape[1], scores[0, 0].numel()
    if kind == 0:
        energies = torch.tensor(-2.0)
    elif kind == 1:
        energies = -1 - torch.rand(labels, generator=generator)
    else:
        energies = 0.2 * torch.rand(labels, labels, generator=generator) - 2 * torch.eye(labels)
        energies = (energies + energies.T) / 2
    features, widths = 30 * torch.rand(scores.shape[0], 5, points, generator=generator), torch.linspace(9, 5, 5)
    lattice = build_lattice(features / widths[:, None])  # built once, so that both paths round the same features
    terms: Terms = [LatticeTerm(features, widths, scale * energies, lattice)]
    if grid:
        terms.insert(0, GridTerm(torch.linspace(2.0, 1.5, scores.dim() - 2), scale * energies))
    return terms


def compare(scores: torch.Tensor, terms: Terms, iterations: int, normalization: str = "symmetric", half: bool = False):
    """Hold marginals against the ops in float64, to within what rounding does in the loop's precision."""
    with Rounding(torch.float32, torch.float16 if half else None) as rounding:
        options = {"iterations": iterations, "normalization": normalization, "initial": None}
        wanted = mean_field_by_ops(scores.double(), in_float64(terms), **options).exp()
    found = mean_field(scores, terms, iterations=iterations, normalization=normalization, half=half).exp()
    rounding.within([found], [wanted])
    return found


def compare_gradients(scores: torch.Tensor, terms: Terms, iterations: int, half: bool):
    """Hold the gradient by `scores` against the ops in float64, or with `half` to what is promised of it."""
    leaf, exact = scores.clone().requires_grad_(), scores.double().requires_grad_()
    with Rounding(torch.float32) as rounding:
        by_ops = mean_field_by_ops(
            exact, in_float64(terms), iterations=iterations, normalization="symmetric", initial=None
        )
        (wanted,) = torch.autograd.grad(by_ops[:, 0].sum(), exact)
    (found,) = torch.autograd.grad(mean_field(leaf, terms, iterations=iterations, half=half)[:, 0].sum(), leaf)
    if half:
        assert (found - wanted).norm() < 0.02 * wanted.norm()
    else:
        rounding.within([found], [wanted])


@pytest.mark.parametrize("labels", [1, 2, 4, 5, 8, 9, 16, 17, 21, 24, 25, 32, 33, 70])
@pytest.mark.parametrize("half", [False, True])
def test_fused_loop_equals_the_ops(labels, half):
    scores = random_scores(labels, (13, 19))
    terms = random_terms(scores)
    compare(scores, terms, 4, half=half)
    found = mean_field(scores, terms, iterations=4, half=half)
    if half:  # what is promised of it
        single = mean_field(scores, terms, iterations=4, half=False).exp()
        torch.testing.assert_close(found.exp(), single, rtol=0, atol=2e-3)
    sums_to_one(found)


@pytest.mark.parametrize("kind", [0, 1, 2])
@pytest.mark.parametrize("labels", [5, 40])
@pytest.mark.parametrize("normalization", ["symmetric", "before", "after", "none"])
def test_compatibilities_and_normalisations(kind, labels, normalization):
    scores = random_scores(labels, (9, 70))
    terms = random_terms(scores, kind, scale=0.05 if normalization == "none" else 1.0)
    compare(scores, terms, 3, normalization)


@pytest.mark.parametrize("size", [(1, 1), (7, 13), (1, 50), (50, 1), (8, 64), (33, 66), (90,), (3, 4, 5)])
def test_sizes(size):
    scores = random_scores(3, size, batch=2)
    terms = random_terms(scores)
    compare(scores, terms, 3)


@pytest.mark.parametrize("size", [(1,), (31,), (33,), (1000,)])
def test_point_sets_without_a_grid(size):
    scores = random_scores(6, size)
    terms = random_terms(scores, grid=False)
    compare(scores, terms, 3)


@pytest.mark.parametrize("width", [0.2, 0.7, 1.0, 3.0, 8.0, 400.0])
def test_grid_kernel_is_exact(width):
    scores = random_scores(4, (17, 40))
    terms: Terms = [GridTerm(torch.tensor([width, width]), torch.tensor(-3.0))]
    with Rounding(torch.float32) as rounding:  # what the kernel leaves out weighs less than a sum's rounding
        exact = dense_mean_field(scores.double(), in_float64(terms), iterations=5).exp()
    rounding.within([mean_field(scores, terms, iterations=5, half=False).exp()], [exact])
    half = mean_field(scores, terms, iterations=5).exp()
    assert (half.double() - exact).abs().mean() < 2e-4


@pytest.mark.parametrize(("labels", "size"), [(2, (120, 90)), (4, (12000,))])
def test_threads_do_not_matter_for_few_labels(labels, size):
    scores = random_scores(labels, size)
    terms = random_terms(scores, grid=len(size) == 2)
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            results.append(mean_field(scores, terms, iterations=3))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(results[1], results[0])
    assert torch.equal(results[2], results[0])


@pytest.mark.parametrize("labels", [2, 4])
def test_few_labels_need_no_entries_of_the_lattice(labels):
    scores = random_scores(labels, (24, 31))
    terms = random_terms(scores)
    built_here = [replace(term, lattice=None) if isinstance(term, LatticeTerm) else term for term in terms]
    with torch.no_grad():
        assert torch.equal(mean_field(scores, built_here), mean_field(scores, terms))
    given = scores.clone().requires_grad_()  # training keeps each state, and splats by entries
    (gradient,) = torch.autograd.grad(mean_field(given, built_here).square().sum(), given)
    (wanted,) = torch.autograd.grad(mean_field(given, terms).square().sum(), given)
    assert torch.equal(gradient, wanted)


@pytest.mark.parametrize("labels", [1, 2, 3, 4, 21, 40])
@pytest.mark.parametrize(
    ("size", "widths"), [((21, 67), (2.0, 3.0)), ((21, 67), (2.0, 4.4)), ((67, 21), (4.4, 2.0)), ((38, 51), (3.1, 2.8))]
)
def test_wide_grid_kernels_are_filtered_at_every_other_pixel(labels, size, widths):
    scores = random_scores(labels, size)
    terms: Terms = [GridTerm(torch.tensor(widths), torch.tensor(-3.0))]
    exact = dense_mean_field(
        scores.double(), [GridTerm(terms[0].widths.double(), torch.tensor(-3.0).double())], iterations=3
    )
    found = mean_field(scores, terms, iterations=3).exp()
    torch.testing.assert_close(found.double(), exact.exp(), rtol=0, atol=2e-3)


def test_logits_beyond_the_range_of_exp():
    scores = -150 * torch.rand(1, 6, 9, 11, generator=torch.Generator().manual_seed(seeded(3)))
    terms: Terms = [GridTerm(torch.tensor([2.0, 2.0]), torch.tensor(-90.0))]
    compare(scores, terms, 3)


@pytest.mark.parametrize("labels", [5, 40])
@pytest.mark.parametrize("half", [False, True])
def test_axes_that_are_blurred_together_piece_by_piece(labels, half):
    scores = random_scores(labels, (700,))
    terms = random_terms(scores, grid=False)
    (lattice,) = lattices_of(terms[0])
    away = (lattice.neighbours - torch.arange(lattice.rows)[:, None]).abs()
    spans = away.masked_fill(lattice.neighbours == lattice.rows, 0).amax((1, 2)).tolist()
    assert lattice.rows > 2 * 1024  # several pieces, as csrc/lattice/blur.h cuts them
    assert max(spans) > 64 > min(spans) > 0  # some axes are short
    compare(scores, terms, 3, half=half)
    compare_gradients(scores, terms, 3, half)


@pytest.mark.parametrize("labels", [2, 5, 21, 40])
@pytest.mark.parametrize("half", [False, True])
def test_filled_lattices(labels, half):
    scores = random_scores(labels, (700,))
    (term,) = random_terms(scores, grid=False)
    assert isinstance(term, LatticeTerm)
    lattice = build_lattice(term.features / term.widths[:, None], 1 << 20)
    terms: Terms = [replace(term, lattice=lattice)]
    assert 2 * int(lattice.touched) < lattice.rows  # most rows are seen by few of a blur's steps
    compare(scores, terms, 3, half=half)
    compare_gradients(scores, terms, 3, half)


@pytest.mark.parametrize("labels", [5, 21, 40])
def test_corners_sorted_by_the_loop_or_for_gradients_give_the_same_bits(labels):
    scores = random_scores(labels, (20, 31))
    terms = random_terms(scores)
    kept = mean_field(scores.clone().requires_grad_(), terms, iterations=3)
    assert torch.equal(kept.detach(), mean_field(scores, terms, iterations=3))


def test_threads_do_not_matter():
    scores = random_scores(21, (40, 70))
    terms = random_terms(scores)
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3, 7):
            torch.set_num_threads(threads)
            leaf = scores.clone().requires_grad_()
            out = mean_field(leaf, terms, iterations=3)
            out[:, 0].sum().backward()
            results.append((out.detach(), leaf.grad))
    finally:
        torch.set_num_threads(before)
    for out, gradient in results[1:]:
        assert torch.equal(out, results[0][0])
        assert torch.equal(gradient, results[0][1])


def test_batch_items_do_not_meet_and_lattices_are_reused():
    scores = random_scores(5, (6, 9), batch=3)
    (term,) = random_terms(scores, grid=False)
    whole = mean_field(scores, [term], iterations=3)
    assert torch.equal(mean_field(scores, [replace(term, lattice=None)], iterations=3), whole)
    for b in range(3):
        mine = LatticeTerm(term.features[b : b + 1], term.widths, term.compatibility)
        assert torch.equal(mean_field(scores[b : b + 1], [mine], iterations=3)[0], whole[b])


def test_step_by_step_equals_the_loop():
    scores = random_scores(5, (8, 11))
    terms = random_terms(scores)
    log_q = torch.log_softmax(scores, 1)
    for _ in range(4):
        log_q = mean_field(scores, terms, iterations=1, initial=log_q, half=False)
    with Rounding(torch.float32) as rounding:
        options = {"iterations": 4, "normalization": "symmetric", "initial": None}
        wanted = mean_field_by_ops(scores.double(), in_float64(terms), **options)
    for found in (log_q, mean_field(scores, terms, iterations=4, half=False)):
        rounding.within([found], [wanted])
    assert torch.equal(mean_field(scores, terms, iterations=0), torch.log_softmax(scores, 1))


def test_shifted_lattices_are_nearer_to_the_exact_marginals():
    images = 12  # one alone has a ratio of 0.72 with a deviation of 0.09
    scores = random_scores(4, (20, 25), batch=images)
    places = torch.cartesian_prod(torch.arange(20.0), torch.arange(25.0)).T.expand(images, 2, 500)
    noise = 8 * torch.rand(images, 3, 500, generator=torch.Generator().manual_seed(seeded(2)))
    features = torch.cat([places, (places[:, :1] > 9).float() * 40 + noise], 1)
    terms = [LatticeTerm(features, torch.tensor([6.0, 6, 13, 13, 13]), torch.tensor(-4.0), shifts=n) for n in (1, 6)]
    exact = dense_mean_field(scores, terms[:1], iterations=5).exp()
    errors = [float((mean_field(scores, [term], iterations=5).exp() - exact).abs().mean()) for term in terms]
    assert errors[0] < 0.02
    assert errors[1] < 0.9 * errors[0]
    assert len(lattices_of(terms[1])) == 6


def test_true_mass_of_the_kernel():
    # One strong label everywhere: the message is the kernel's sum, which the log-odds show.
    points = torch.rand(1, 2, 400, generator=torch.Generator().manual_seed(seeded())) * 12
    scores = torch.zeros(1, 2, 400)
    scores[:, 1] = -20.0
    term = LatticeTerm(points, torch.ones(2), torch.tensor(-1.0))
    found = mean_field(scores, [term], iterations=1, normalization="none", half=False)
    mass = (found[:, 0] - found[:, 1] - 20).mean()
    exact = torch.exp(-0.5 * torch.cdist(points[0].T, points[0].T).square()).sum(1).mean()
    assert abs(float(mass / exact) - 1) < 0.03


def test_float64_and_half_types():
    scores = random_scores(3, (6, 7))
    terms = random_terms(scores)
    with Rounding(torch.float32) as rounding:
        wanted = mean_field(scores.double(), terms, iterations=2)
    assert wanted.dtype == torch.float64
    rounding.within([mean_field(scores, terms, iterations=2, half=False)], [wanted])
    assert mean_field(scores.bfloat16(), terms, iterations=2).dtype == torch.bfloat16


def test_not_contiguous():
    scores = random_scores(3, (7, 6)).transpose(2, 3)
    terms = random_terms(scores)
    assert torch.equal(mean_field(scores, terms, iterations=2), mean_field(scores.contiguous(), terms, iterations=2))


def test_strong_energies_stay_finite():
    scores = 1e4 * random_scores(5, (6, 6))
    terms: Terms = [GridTerm(torch.tensor([3.0, 3.0]), torch.tensor(-1e4))]
    out = mean_field(scores, terms, iterations=5)
    assert torch.isfinite(out).all()
    sums_to_one(out)


def bad(scores: torch.Tensor, term: GridTerm | LatticeTerm, message: str, **options: object) -> None:
    with pytest.raises(InputError, match=message):
        mean_field(scores, [term], **options)


def test_bad_input():
    scores, energy, two = random_scores(3, (4, 5)), torch.tensor(-1.0), torch.ones(2)
    good = GridTerm(two, energy)
    bad(scores * float("nan"), good, "scores: hold NaN")
    bad(scores[:, :0], good, "scores: wanted shape")
    bad(scores.long(), good, "scores: wanted a floating-point")
    bad(scores, good, "iterations", iterations=-1)
    bad(scores, good, "normalization", normalization="both")
    bad(scores, good, "prune", prune=1.0)
    bad(scores, good, "initial", initial=scores[:, :2])
    bad(scores, GridTerm(torch.tensor([1.0, 0.0]), energy), "positive finite widths")
    bad(scores, GridTerm(torch.tensor([1.0, -3.0]), energy), "positive finite widths")
    bad(scores, GridTerm(torch.ones(3), energy), "widths: wanted shape")
    bad(scores, GridTerm(two, torch.ones(2)), "compatibility: wanted shape")
    bad(scores, GridTerm(two, torch.tensor(float("inf"))), "compatibility: holds")
    bad(scores, LatticeTerm(torch.rand(1, 2, 19), two, energy), "features: wanted shape")
    bad(scores, LatticeTerm(torch.rand(1, 17, 20), torch.ones(17), energy), "16 dimensions")
    bad(scores, LatticeTerm(torch.full((1, 2, 20), float("nan")), two, energy), "features: holds NaN")
    bad(scores, LatticeTerm(torch.rand(1, 2, 20), two, energy, shifts=0), "shifts")
