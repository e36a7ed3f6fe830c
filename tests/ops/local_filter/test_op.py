from __future__ import annotations

import functools
import itertools

import pytest
import torch
from torch._subclasses import FakeTensorMode
from torch.fx.experimental.proxy_tensor import make_fx

from densefield.checks import InputError
from densefield.ops.local_filter import affinity_filter, filter_by_masks, pair_distances
from densefield.ops.local_filter.filter import Options
from densefield.ops.local_filter.op import _distances, _filter, _filter_backward
from drawing import seeded
from ops.local_filter.dense import dense_filter
from rounding import Rounding

SIZES = [(2, 3, 5, 7, 13), (1, 7, 3, 10, 19), (1, 2, 4, 3, 33), (2, 21, 2, 9, 4), (1, 1, 1, 1, 1)]  # B, C, D, H, W
WINDOWS = [(9, 1, 1), (3, 2, 3), (5, 3, 2), (13, 1, 1), (3, 9, 2), (1, 1, 2)]  # window, rate, iterations
OPTIONS = list(itertools.product(["l1", "l2", "dot"], ["valid", "zero", "published"], [True, False], [True, False]))


def options(distance, border, normalize, include_center):
    eps = 0.0 if include_center else 0.1
    return {
        "distance": distance,
        "border": border,
        "normalize": normalize,
        "include_center": include_center,
        "eps": eps,
    }


def inputs(size, dtype=torch.float64, seed=0):
    batch, channels, depth, height, width = size
    generator = torch.Generator().manual_seed(seeded(seed))
    scores = torch.randn(batch, channels, height, width, generator=generator, dtype=torch.float64)
    embeddings = torch.randn(batch, depth, height, width, generator=generator, dtype=torch.float64)
    embeddings = (embeddings * 4).round() / 8  # with many ties
    values = (scores, embeddings, torch.tensor(0.3, dtype=torch.float64))
    return tuple(x.to(torch.float32).to(dtype).requires_grad_() for x in values)


@functools.cache
def by_dense_sum(size, chosen):
    """Values, and the gradients of their sum with random weights; the same for either type and path."""
    by = inputs(size)
    with Rounding(torch.float32) as rounding:
        wanted = dense_filter(*by, **dict(chosen))
        gradients = torch.autograd.grad((wanted * weights_of(wanted)).sum(), by)
    return rounding.bounds(wanted, *gradients)


def weights_of(result):
    return torch.randn(result.shape, generator=torch.Generator().manual_seed(seeded(1))).to(result.dtype)


def compare(size, dtype, **chosen):
    by = inputs(size, dtype)
    result = affinity_filter(*by, **chosen)
    gradients = torch.autograd.grad((result * weights_of(result)).sum(), by)
    by_dense_sum(size, tuple(chosen.items())).hold((result, *gradients), dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("number", range(len(OPTIONS)))
def test_values_and_gradients_equal_the_dense_sum(number, dtype, path):
    chosen = options(*OPTIONS[number])
    window, rate, iterations = WINDOWS[number // 2 % (5 if chosen["normalize"] else 6)]
    compare(SIZES[number % len(SIZES)], dtype, **chosen, window=window, rate=rate, iterations=iterations)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("size", [(1, 12, 2, 9, 40), (1, 21, 3, 15, 37), (1, 30, 2, 12, 25), (2, 70, 2, 7, 19)])
@pytest.mark.parametrize(("window", "rate", "iterations"), [(9, 1, 2), (5, 2, 3), (3, 7, 1), (7, 3, 9)])
def test_any_number_of_channels(size, window, rate, iterations, dtype):
    compare(size, dtype, window=window, rate=rate, iterations=iterations)


@pytest.mark.parametrize("distance", ["l1", "l2", "dot"])
def test_values_without_ties_in_single_precision(distance, path):
    scores, embeddings, scale = (x.detach() for x in inputs((1, 4, 16, 20, 23), torch.float32))
    embeddings = torch.rand_like(embeddings)
    with Rounding(torch.float32) as rounding:
        wanted = dense_filter(scores.double(), embeddings.double(), scale.double(), iterations=3, distance=distance)
    rounding.within([affinity_filter(scores, embeddings, scale, iterations=3, distance=distance)], [wanted])


@pytest.mark.parametrize("number", range(0, len(OPTIONS), 5))
def test_gradcheck(number, path):
    scores, embeddings, scale = inputs((1, 2, 3, 3, 4))
    # Multiples of 1/37, no two equal nor 0: finite differences would cross a tie.
    embeddings = ((torch.randperm(36).double() + 1).view(1, 3, 3, 4) / 37).requires_grad_()
    function = functools.partial(affinity_filter, window=5, iterations=2, **options(*OPTIONS[number]))
    assert torch.autograd.gradcheck(function, (scores, embeddings, scale))


def test_ties_have_no_gradient(path):
    scores, _, scale = inputs((1, 2, 1, 6, 6))
    embeddings = torch.ones(1, 4, 6, 6, dtype=torch.float64, requires_grad=True)
    affinity_filter(scores, embeddings, scale, window=3).square().sum().backward()
    assert torch.equal(embeddings.grad, torch.zeros_like(embeddings))


def test_equals_a_box_filter_where_embeddings_are_equal(path):
    scores = torch.rand(1, 2, 9, 11, dtype=torch.float64)
    result = affinity_filter(scores, torch.ones(1, 3, 9, 11, dtype=torch.float64), 2.0, window=5)
    ones = torch.ones_like(scores)
    pool = functools.partial(torch.nn.functional.avg_pool2d, kernel_size=5, stride=1, padding=2)
    torch.testing.assert_close(result, pool(scores) / pool(ones))
    published = affinity_filter(scores, torch.ones(1, 3, 9, 11, dtype=torch.float64), 2.0, window=5, border="published")
    torch.testing.assert_close(published, pool(scores))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_finite_where_masks_underflow(dtype, path):
    scores, embeddings, scale = inputs((1, 3, 4, 7, 8), dtype)
    # all neighbours lie at least 1e6 apart
    embeddings = (1e6 * torch.arange(embeddings.numel()).reshape(embeddings.shape).to(embeddings)).requires_grad_()
    result = affinity_filter(scores, embeddings, scale, window=3, include_center=False, iterations=2)
    result.sum().backward()
    assert torch.equal(result, torch.zeros_like(result))
    assert all(torch.isfinite(x.grad).all() for x in (scores, embeddings, scale))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("window", "rate", "iterations"), [(9, 1, 10), (3, 24, 2), (5, 3, 2), (19, 1, 3)])
def test_any_number_of_threads_gives_the_same_bits(dtype, window, rate, iterations):
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            by = inputs((2, 3, 4, 50, 37), dtype)
            result = affinity_filter(*by, window=window, rate=rate, iterations=iterations)
            results.append((result, *torch.autograd.grad(result.square().sum(), by)))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(x, y) for other in results[1:] for x, y in zip(results[0], other, strict=True))


def test_not_contiguous_and_expanded_inputs():
    scores, embeddings, scale = inputs((2, 3, 4, 8, 9))
    strided = [x.detach().permute(3, 0, 2, 1).contiguous().permute(1, 3, 2, 0) for x in (scores, embeddings)]
    assert not strided[0].is_contiguous()
    result = affinity_filter(scores, embeddings, scale)
    assert torch.equal(affinity_filter(*strided, scale), result)
    result.sum().backward()  # an expanded gradient


def test_half_precision_is_computed_in_single():
    scores, embeddings, scale = (x.detach() for x in inputs((1, 2, 3, 6, 5), torch.float32))
    wanted = affinity_filter(scores.half().float(), embeddings.half().float(), scale)
    result = affinity_filter(scores.half(), embeddings.half(), scale)
    assert result.dtype == torch.float16
    assert torch.equal(result, wanted.half())


def test_gradients_only_of_what_needs_them(path):
    for wanted in itertools.product([True, False], repeat=3):
        if any(wanted):
            values = [x.detach().requires_grad_(w) for x, w in zip(inputs((1, 2, 3, 5, 6)), wanted, strict=True)]
            affinity_filter(*values, iterations=2).square().sum().backward()
            assert [x.grad is not None for x in values] == list(wanted)


@pytest.mark.parametrize("keep", [True, False])
def test_opcheck(keep, path):
    scores, embeddings, scale = (x.detach().requires_grad_(keep) for x in inputs((1, 2, 3, 5, 6), torch.float32))
    options = Options(3, iterations=2)
    torch.library.opcheck(_filter.definition, (scores, embeddings, scale, keep, *options))
    if keep:
        values = [x.detach() for x in (scores, embeddings, scale)]
        result, kept = _filter(*values, True, *options)
        arguments = (torch.ones_like(result), *values, [result, *kept], [True, False, True])
        torch.library.opcheck(_filter_backward.definition, (*arguments, *options))


SCORES, EMBEDDINGS = torch.zeros(1, 2, 4, 5), torch.zeros(1, 3, 4, 5)
BAD = [
    ({"scores": torch.zeros(1, 2, 4, 6)}, r"scores: wanted shape \(1, C, 4, 5\) to fit .*\(1, 2, 4, 6\)"),
    ({"scores": torch.zeros(2, 4, 5)}, r"scores: .*\(2, 4, 5\)"),
    ({"scores": torch.zeros(1, 0, 4, 5)}, r"scores: .*\(1, 0, 4, 5\)"),
    ({"scores": torch.full((1, 2, 4, 5), torch.nan)}, "scores: .*NaN"),
    ({"scores": torch.zeros(1, 2, 4, 5, device="meta")}, "embeddings: .*meta.*cpu"),
    ({"embeddings": torch.zeros(3, 4, 5)}, r"embeddings: .*\(3, 4, 5\)"),
    ({"embeddings": torch.zeros(1, 3, 0, 5)}, r"embeddings: .*\(1, 3, 0, 5\)"),
    ({"embeddings": torch.zeros(1, 3, 4, 5, dtype=torch.int64)}, "embeddings: .*int64"),
    ({"embeddings": torch.full((1, 3, 4, 5), torch.inf)}, "embeddings: .*Inf"),
    ({"embeddings": torch.full((1, 3, 4, 5), 100.0), "distance": "dot"}, "embeddings: .*overflows"),
    ({"scale": -1.0}, "scale: .*-1"),
    ({"scale": torch.tensor([1.0, 2.0])}, r"scale: .*\(2,\)"),
    ({"window": 4}, "window: .*4"),
    ({"window": 5.0}, r"window: wanted an odd whole number, received 5\.0"),
    ({"rate": 0}, "rate: .*0"),
    ({"iterations": 0}, "iterations: .*0"),
    ({"iterations": 257}, "iterations: .*257"),
    ({"eps": -1.0}, "eps: .*-1"),
    ({"distance": "l3"}, "distance: .*'l3'"),
    ({"border": "mirror"}, "border: .*'mirror'"),
]


@pytest.mark.parametrize(("changed", "message"), BAD)
def test_bad_input_is_named(changed, message, path):
    with pytest.raises(InputError, match=message):
        affinity_filter(**({"scores": SCORES, "embeddings": EMBEDDINGS, "scale": 1.0} | changed))


def test_compilers_and_tracers_see_the_op():
    scores, embeddings = torch.randn(1, 3, 7, 6), torch.rand(1, 4, 7, 6, requires_grad=True)

    def loss(values):
        return affinity_filter(scores, values, 0.5, window=5, iterations=2).square().sum()

    (wanted,) = torch.autograd.grad(loss(embeddings), embeddings)
    detached = embeddings.detach()
    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
    assert torch.equal(torch.autograd.grad(compiled(embeddings), embeddings)[0], wanted)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        assert affinity_filter(mode.from_tensor(scores), mode.from_tensor(detached), 0.5).shape == scores.shape
    graph = make_fx(lambda values: affinity_filter(scores, values, 0.5))(detached)
    assert "densefield.affinity_filter" in graph.code
    assert torch.equal(graph(detached), affinity_filter(scores, detached, 0.5))


def test_a_second_derivative_is_an_error():
    embeddings = torch.rand(1, 4, 7, 6, requires_grad=True)
    result = affinity_filter(torch.randn(1, 3, 7, 6), embeddings, 0.5).square().sum()
    (first,) = torch.autograd.grad(result, embeddings, create_graph=True)
    with pytest.raises(NotImplementedError, match="affinity_filter: differentiable once"):
        first.sum().backward()


@pytest.mark.parametrize(("window", "rate"), [(5, 1), (3, 2), (9, 1), (3, 7)])
def test_masks_from_anywhere_filter_as_those_of_embeddings(window, rate, path):
    scores, embeddings = torch.randn(2, 3, 6, 11, dtype=torch.float64), torch.randn(2, 4, 6, 11, dtype=torch.float64)
    masks = torch.exp(-0.5 * pair_distances(embeddings, window=window, rate=rate))
    result = filter_by_masks(scores, masks, window=window, rate=rate, iterations=3)
    wanted = affinity_filter(scores, embeddings, 0.5, window=window, rate=rate, iterations=3)
    torch.testing.assert_close(result, wanted)


def test_masks_of_another_window_are_named():
    with pytest.raises(InputError, match="masks"):
        filter_by_masks(torch.zeros(1, 2, 4, 5), torch.zeros(1, 3, 4, 5), window=3)


@pytest.mark.parametrize("distance", ["l1", "l2", "dot"])
def test_gradcheck_of_distances(distance):
    embeddings = ((torch.randperm(120).double() + 1).view(2, 3, 4, 5) / 121).requires_grad_()  # no ties to cross
    assert torch.autograd.gradcheck(functools.partial(pair_distances, window=3, distance=distance), (embeddings,))


def test_opcheck_of_distances():
    torch.library.opcheck(_distances.definition, (torch.rand(1, 2, 4, 5, requires_grad=True), 3, 2, "l1"))
