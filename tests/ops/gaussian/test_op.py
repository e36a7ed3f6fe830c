from __future__ import annotations

import math

import pytest
import torch
from scipy import ndimage

from densefield.checks import InputError
from densefield.ops import native
from densefield.ops.gaussian import gaussian_filter
from densefield.ops.gaussian.op import _filter
from ops.gaussian.dense import axis_weights, dense_filter
from rounding import STEPS, Rounding, unit_roundoff
from rounding_rules import EXP

SHAPES = [(1, 1, 1, 1), (2, 3, 7, 13), (1, 2, 16, 16), (3, 1, 33, 40), (1, 5, 1, 50), (2, 2, 30), (1, 2, 5, 6, 17)]


def cut_off(values, theta, orders):
    """Bound what is left out beyond the kernel's radius: along each axis, less than eps of the weights' sum."""
    distances = [torch.arange(size, dtype=torch.float64) for size in values.shape[2:]]
    sums = [2 * axis_weights(*each).abs().sum() for each in zip(distances, theta, orders, strict=True)]
    return len(sums) * torch.finfo(values.dtype).eps * float(math.prod(sums) * values.abs().max())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equals_the_dense_sum(shape, dtype):
    values = torch.randn(shape, dtype=dtype)
    theta = torch.linspace(0.6, 3.4, len(shape) - 2, dtype=torch.float64)
    with Rounding(dtype) as rounding:
        wanted = dense_filter(values.double(), theta)
    rounding.within([gaussian_filter(values, theta)], [wanted], cut_off(values, theta.tolist(), [0] * len(theta)))


@pytest.mark.parametrize("theta", [0.05, 0.9, 3.0, 11.0, 200.0])
def test_equals_scipy(theta):
    values = torch.rand(1, 1, 45, 70, dtype=torch.float64)
    # scipy divides by the sum of the weights it kept.
    radius = 140
    total = sum(math.exp(-(r**2) / (2 * theta**2)) for r in range(-radius, radius + 1))
    wanted = ndimage.gaussian_filter(values[0, 0].numpy(), theta, mode="constant", radius=radius) * total**2
    # Positive terms, so that rounding is relative: 2 * 140 + 1 of them an axis, each with a weight exp(-t), t < 40.
    close = STEPS * 2 * (2 * radius + 1 + 40 + EXP) * unit_roundoff(torch.float64)
    cut = cut_off(values, [theta, theta], [0, 0])
    torch.testing.assert_close(gaussian_filter(values, theta)[0, 0], torch.from_numpy(wanted), rtol=close, atol=cut)


@pytest.mark.parametrize("order", [[0, 0], [1, 0], [0, 2], [1, 1]])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_derivatives_of_the_kernel_equal_the_dense_sums(order, dtype):
    values = torch.randn(2, 3, 21, 34, dtype=dtype)
    theta = torch.tensor([2.5, 1.2], dtype=torch.float64)
    with Rounding(dtype) as rounding:
        wanted = dense_filter(values.double(), theta, order)
    found = torch.ops.densefield.gaussian_filter(values, theta, order)
    rounding.within([found], [wanted], cut_off(values, theta.tolist(), order))


def test_not_contiguous_input():
    values = torch.randn(1, 9, 8, 3).permute(0, 3, 2, 1)
    assert torch.equal(gaussian_filter(values, 2.0), gaussian_filter(values.contiguous(), 2.0))


def test_gradients():
    values = torch.randn(2, 1, 4, 5, dtype=torch.float64, requires_grad=True)
    theta = torch.tensor([1.3, 2.1], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(gaussian_filter, (values, theta))
    assert torch.autograd.gradgradcheck(gaussian_filter, (values, theta))
    assert torch.autograd.gradcheck(lambda v, t: gaussian_filter(v, t, normalize=True), (values, theta.mean()))


def test_gradients_equal_the_dense_sums():
    values = torch.randn(1, 2, 11, 9, dtype=torch.float64, requires_grad=True)
    theta = torch.tensor([0.8, 1.9], dtype=torch.float64, requires_grad=True)
    weight = torch.randn(1, 2, 11, 9, dtype=torch.float64)
    ours = torch.autograd.grad((gaussian_filter(values, theta) * weight).sum(), (values, theta))
    dense = torch.autograd.grad((dense_filter(values, theta) * weight).sum(), (values, theta))
    torch.testing.assert_close(ours, dense)  # float64: a hundred million roundings


def test_normalized_filter_keeps_constants():
    values = torch.full((1, 2, 12, 17), 0.7)
    close = STEPS * 2 * (12 + 17) * unit_roundoff(torch.float32)  # the same positive terms above and below
    torch.testing.assert_close(gaussian_filter(values, 5.0, normalize=True), values, rtol=close, atol=0)


def test_half_types_are_computed_wide():
    values = torch.rand(1, 1, 9, 9, dtype=torch.bfloat16)
    wanted = gaussian_filter(values.float(), 2.0).bfloat16()
    assert torch.equal(gaussian_filter(values, 2.0), wanted)


@pytest.mark.skipif(not native.available(), reason="native code is switched off")
@pytest.mark.parametrize("shape", [(1, 1, 61, 47), (2, 5, 33, 40), (1, 2, 9, 10, 11)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_same_bits_for_any_number_of_threads(shape, dtype):
    values = torch.randn(shape, dtype=dtype)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 3, 7):
            torch.set_num_threads(threads)
            results.append(gaussian_filter(values, 2.5))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(results[0], result) for result in results[1:])


@pytest.mark.parametrize("shape", [(0, 3, 4, 5), (1, 0, 4, 5), (1, 2, 0, 5), (1, 2, 4, 0)])
def test_empty_input_gives_empty_output(shape):
    assert gaussian_filter(torch.zeros(shape), 2.0).shape == shape


def test_nan_stays_within_its_reach():
    values = torch.zeros(1, 1, 30, 60)
    values[0, 0, 2, 2] = math.nan
    result = gaussian_filter(values, 1.0)
    assert result[0, 0, 2, 2].isnan()
    if native.available():
        assert not result[0, 0, 12:, 12:].isnan().any()


@pytest.mark.parametrize(
    ("values", "theta", "message"),
    [
        (torch.zeros(4, 5), 1.0, r"values: wanted shape \(B, C, \*spatial\).*received \(4, 5\)"),
        (torch.zeros(1, 1, 4, 5, dtype=torch.int64), 1.0, "values: wanted a floating-point tensor"),
        (torch.zeros(1, 1, 4, 5), 0.0, r"theta: wanted positive finite widths in pixels, received \[0.0, 0.0\]"),
        (torch.zeros(1, 1, 4, 5), [1.0, math.nan], "theta: wanted positive finite widths"),
        (torch.zeros(1, 1, 4, 5), math.inf, "theta: wanted positive finite widths"),
        (torch.zeros(1, 1, 4, 5), [1.0, 2.0, 3.0], r"theta: wanted one number or 2.*received shape \(3,\)"),
    ],
)
def test_bad_input_is_named(values, theta, message):
    with pytest.raises(InputError, match=message):
        gaussian_filter(values, theta)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(1, 2, 6, 7), (1, 1, 9)])
def test_opcheck(shape, dtype):
    values = torch.randn(shape, dtype=dtype, requires_grad=True)
    theta = torch.full((len(shape) - 2,), 1.4, dtype=torch.float64, requires_grad=True)
    torch.library.opcheck(torch.ops.densefield.gaussian_filter.default, (values, theta, [0] * len(theta)))


def test_gradients_of_widths_lie_where_the_widths_do():
    # Values on one device and widths on another, as learned widths stay on the CPU beside values on a GPU.
    theta = torch.ones(2, device="meta", dtype=torch.float64, requires_grad=True)
    result = _filter(torch.randn(1, 2, 5, 6), theta, [0, 0])
    assert torch.autograd.grad(result.sum(), theta)[0].device == theta.device
