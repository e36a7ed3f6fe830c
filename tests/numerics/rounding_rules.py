"""What each of torch's operations, and of ours, does to the bounds on its operands; see `rounding`.

A rule is given the mode, the result and the operands, and gives the bound on the result.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from densefield.ops.gaussian.op import _filter as gaussian_filter
from densefield.ops.permutohedral.op import _build as lattice_build
from densefield.ops.permutohedral.op import _filter as lattice_filter

if TYPE_CHECKING:
    from rounding import Rounding

CONFIDENCE = 6  # a sum's roundings have both signs: more than 6 sqrt(n) of n add up once in 10^7 (Higham and Mary 2019)
EXP = 4  # units roundoff of an exp or a logarithm, torch's and ours
aten = torch.ops.aten

Rule = Callable[..., Any]


def moved(func: Any) -> Rule:
    """Copies, and whatever only puts numbers elsewhere, put their bounds there too."""

    def rule(mode: Rounding, result: Tensor, *args: Any, **kwargs: Any) -> Any:
        def bounds(value: Any) -> Any:
            if isinstance(value, (list, tuple)):
                return type(value)(bounds(v) for v in value)
            return _carried(mode, value) if isinstance(value, Tensor) and value.is_floating_point() else value

        return func(*bounds(args), **kwargs)

    return rule


def _carried(mode: Rounding, value: Tensor) -> Tensor:
    bound: Tensor = mode.error(value) + torch.zeros_like(value, dtype=torch.float64)
    return bound


def _sums(terms: Any) -> Any:
    return torch.minimum((terms - 1).clamp(min=0), CONFIDENCE * terms.double().sqrt())


def _exact(mode: Rounding, result: Tensor, *args: Any, **kwargs: Any) -> Any:
    return 0.0


def _add(mode: Rounding, result: Tensor, a: Any, b: Any, alpha: float = 1) -> Any:
    return mode.error(a) + abs(alpha) * mode.error(b) + mode.unit * result.abs()


def _multiply(mode: Rounding, result: Tensor, a: Any, b: Any) -> Any:
    if _is_mask(a) or _is_mask(b):
        return (mode.error(a) * b) if _is_mask(b) else (a * mode.error(b))
    own = 0.0 if _power_of_two(a) or _power_of_two(b) else mode.unit
    ea, eb, bound = mode.error(a), mode.error(b), own * result.abs()
    if isinstance(ea, Tensor):
        bound = bound + ea * abs(b)
    if isinstance(eb, Tensor):
        bound = bound + (abs(a) + ea) * eb
    return bound


def _is_mask(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dtype == torch.bool


def _add_product(mode: Rounding, result: Tensor, a: Tensor, b: Tensor, c: Tensor, value: float = 1) -> Any:
    product = value * b * c
    return mode.error(a) + abs(value) * _multiply(mode, product, b, c) + mode.unit * result.abs()


def _power_of_two(value: Any) -> bool:
    number = value if isinstance(value, (int, float)) else value.detach().item() if value.dim() == 0 else 0.0
    return number != 0 and math.isfinite(number) and abs(math.frexp(number)[0]) == 0.5


def _divide(mode: Rounding, result: Tensor, a: Any, b: Any) -> Any:
    own = 0.0 if _power_of_two(b) else mode.unit
    bottom = (abs(b) - mode.error(b)) if isinstance(b, Tensor) else abs(b)
    return (mode.error(a) + result.abs() * mode.error(b)) / bottom + own * result.abs()


def _keep(mode: Rounding, result: Tensor, a: Any, *args: Any, **kwargs: Any) -> Any:
    return mode.error(a)  # neg, abs, clamp, copies: no rounding, and no error grows


def _where(mode: Rounding, result: Tensor, condition: Tensor, a: Any, b: Any) -> Any:
    a, b = (torch.as_tensor(mode.error(value), dtype=torch.float64) for value in (a, b))
    return torch.where(condition, a, b)


def _exp(mode: Rounding, result: Tensor, a: Tensor) -> Any:
    error = torch.as_tensor(mode.error(a))
    handed = torch.where(error < 1, result * error.clamp(max=1).expm1(), (a + error).exp() - result)  # no 0 times Inf
    return handed + EXP * mode.unit * result


def _log(mode: Rounding, result: Tensor, a: Tensor) -> Any:
    return mode.error(a) / (a - mode.error(a)) + EXP * mode.unit * result.abs()


def _sqrt(mode: Rounding, result: Tensor, a: Tensor) -> Any:
    return mode.error(a) / result / 2 + mode.unit * result


def _power(mode: Rounding, result: Tensor, a: Tensor, exponent: float) -> Any:
    if exponent in (0, 1):
        return exponent * mode.error(a)
    own = mode.unit * (abs(exponent) if exponent == int(exponent) else EXP)
    return mode.error(a) * (result / a).nan_to_num().abs() * abs(exponent) + own * result.abs()


def _sum(mode: Rounding, result: Tensor, a: Tensor, dim: Any = None, keepdim: bool = False, **kwargs: Any) -> Any:
    dim = list(range(a.dim())) if dim is None or dim == [] else dim
    handed = mode.error(a).sum(dim, keepdim) if isinstance(mode.error(a), Tensor) else 0.0
    return handed + _sums((a != 0).sum(dim, keepdim)) * mode.unit * a.abs().sum(dim, keepdim)


def _mean(mode: Rounding, result: Tensor, a: Tensor, dim: Any = None, keepdim: bool = False, **kwargs: Any) -> Any:
    return _sum(mode, result, a, dim, keepdim) * (result.numel() / a.numel()) + mode.unit * result.abs()


def _cumulated(mode: Rounding, result: Tensor, a: Tensor, dim: int, **kwargs: Any) -> Any:
    handed = mode.error(a).cumsum(dim) if isinstance(mode.error(a), Tensor) else 0.0
    return handed + _sums((a != 0).cumsum(dim)) * mode.unit * a.abs().cumsum(dim)


def _product(mode: Rounding, result: Tensor, a: Tensor, b: Tensor) -> Any:
    terms = (a != 0).double() @ (b != 0).double()
    ea, eb = mode.error(a), mode.error(b)
    bound = (1 + _sums(terms)) * mode.unit * (a.abs() @ b.abs())
    if isinstance(ea, Tensor):
        bound = bound + ea @ b.abs()
    if isinstance(eb, Tensor):
        bound = bound + (a.abs() + ea) @ eb
    return bound


def _softened(mode: Rounding, result: Tensor, a: Tensor, dim: int, half: bool) -> Any:
    """log softmax: d log q_i = d a_i - sum_j q_j d a_j; less the greatest, less the logarithm of a sum."""
    q, e = result.exp(), _carried(mode, a)
    top = a.amax(dim, keepdim=True).abs()
    own = mode.unit * (result.abs() + top + (a.shape[dim] + 2 * EXP))
    return e * (1 - 2 * q) + (q * e).sum(dim, keepdim=True) + own


def _log_sum(mode: Rounding, result: Tensor, a: Tensor, dim: list[int], keepdim: bool = False) -> Any:
    """d log sum_j exp a_j = sum_j p_j d a_j; what is summed, less the greatest, weighs at most its entropy, log K."""
    p = (a - a.logsumexp(dim, True)).exp()
    terms = math.prod(a.shape[d] for d in dim)
    return (p * _carried(mode, a)).sum(dim, keepdim) + mode.unit * (result.abs() + 2 * terms + 2 * EXP)


def _soften_back(mode: Rounding, result: Tensor, gradient: Tensor, output: Tensor, dim: int, dtype: Any) -> Any:
    q, eg = output.exp(), _carried(mode, gradient)
    eq = _exp(mode, q, output)
    total = gradient.sum(dim, keepdim=True)
    by_total = eg.sum(dim, keepdim=True) + (output.shape[dim] - 1) * mode.unit * gradient.abs().sum(dim, keepdim=True)
    return eg + eq * total.abs() + q * by_total + mode.unit * (2 * (q * total).abs() + gradient.abs())


def _gather_sum(mode: Rounding, result: Tensor, a: Tensor, dim: int, index: Tensor, source: Tensor) -> Any:
    terms = (a != 0).double().index_add(dim, index, (source != 0).double())
    size = a.abs().index_add(dim, index, source.abs())
    handed = _carried(mode, a).index_add(dim, index, _carried(mode, source))
    return handed + _sums(terms) * mode.unit * size


def _put(mode: Rounding, result: Tensor, a: Tensor, indices: Any, values: Tensor, accumulate: bool = False) -> Any:
    handed = aten.index_put(_carried(mode, a), indices, _carried(mode, values), accumulate)
    if not accumulate:
        return handed
    terms = aten.index_put((a != 0).double(), indices, (values != 0).double(), True)
    return handed + _sums(terms) * mode.unit * aten.index_put(a.abs(), indices, values.abs(), True)


def _lattice(
    mode: Rounding, result: Tensor, values: Tensor, features: Any, lattice: list[Tensor], reverse: bool
) -> Any:
    """Splat, blur, slice: linear, with weights of one sign; so many roundings lie between a number in and one out."""
    corners, most = lattice[0].shape[2], int(lattice[3].diff().max())
    own = (most + 1 + 3 * corners + 2 * corners + 1) * mode.unit + 2 * mode.stored
    size = lattice_filter(values.abs(), None, _positive(lattice), reverse)
    moved = mode.error(values)
    if isinstance(moved, Tensor):
        moved = lattice_filter(moved.contiguous(), None, _positive(lattice), reverse)
    return own * size + moved


def _positive(lattice: list[Tensor]) -> list[Tensor]:
    return [lattice[0], lattice[1].clamp(min=0), *lattice[2:]]


def _gaussian(mode: Rounding, result: Tensor, values: Tensor, theta: Tensor, orders: list[int]) -> Any:
    """An axis after the other: weights of one sign but for derivatives, whose terms u and u² - 3u are added in size."""
    lengths = values.shape[2:]
    own = sum(n + EXP + 2 for n in lengths) * mode.unit + 2 * mode.stored
    moved = mode.error(values)
    if isinstance(moved, Tensor):
        moved = _by_axes(moved, theta, orders)
    return own * _by_axes(values.abs(), theta, orders) + moved


def _by_axes(values: Tensor, theta: Tensor, orders: list[int]) -> Tensor:
    for axis, (width, order) in enumerate(zip(theta.tolist(), orders, strict=True), start=2):
        places = torch.arange(values.shape[axis], dtype=torch.float64)
        u = ((places[:, None] - places) / width).square()
        factor = 1.0 if order == 0 else u / width if order == 1 else (u.square() + 3 * u) / width**2
        matrix = factor * torch.exp(-0.5 * u) * (1 + 0.5 * u)  # the exponent's own rounding grows with it
        values = (values.transpose(axis, -1) @ matrix).transpose(axis, -1)
    return values


SILENT = {aten.detach_}
MOVES = {
    aten.cat, aten.stack, aten.index, aten.index_select, aten.gather, aten.flip, aten.roll,
    aten.slice_backward, aten.select_backward, aten.slice_scatter, aten.select_scatter,
    aten.repeat, aten.expand_copy, aten._unsafe_view, aten.diag_embed, aten.diagonal_backward, aten.lift_fresh_copy,
}  # fmt: skip
RULES: dict[Any, Rule] = {
    **dict.fromkeys((aten.zeros, aten.ones, aten.full, aten.arange, aten.empty, aten.scalar_tensor, aten.eye), _exact),
    **dict.fromkeys((aten.zeros_like, aten.ones_like, aten.full_like, aten.empty_like, aten.new_zeros), _exact),
    **dict.fromkeys((aten.new_ones, aten.new_empty, aten.new_full, aten.sgn, aten.sign, aten.linspace), _exact),
    **dict.fromkeys((aten._euclidean_dist, aten.aminmax, lattice_build.definition.overloadpacket), _exact),
    **dict.fromkeys((aten.empty_strided, aten.new_empty_strided, aten.round, aten.rand, aten.randn), _exact),
    **dict.fromkeys((aten.neg, aten.abs, aten.clamp, aten.clamp_min, aten.relu, aten.clone, aten._to_copy), _keep),
    aten.add: _add,
    aten.sub: _add,
    aten.rsub: lambda mode, result, a, b, alpha=1: _add(mode, result, b, a, alpha),
    aten.mul: _multiply,
    aten.div: _divide,
    aten.addcmul: _add_product,
    aten.rsqrt: lambda mode, result, a: _power(mode, result, a, -0.5),
    aten.nan_to_num: _keep,
    aten.masked_fill: lambda mode, result, a, mask, value: _carried(mode, a).masked_fill(mask, 0.0),
    aten.constant_pad_nd: lambda mode, result, a, pad, *value: torch.nn.functional.pad(_carried(mode, a), pad),
    aten.reciprocal: lambda mode, result, a: _divide(mode, result, 1.0, a),
    aten.where: _where,
    aten.exp: _exp,
    aten.log: _log,
    aten.sqrt: _sqrt,
    aten.sin: lambda mode, result, a: mode.error(a) + EXP * mode.unit * result.abs(),
    aten.amax: lambda mode, result, a, *dims, **kept: _carried(mode, a).amax(*dims, **kept),
    aten.pow: _power,
    aten.sum: _sum,
    aten.mean: _mean,
    aten.cumsum: _cumulated,
    aten.mm: _product,
    aten.bmm: _product,
    aten.copy: lambda mode, result, a, b, *rest: mode.error(b),
    aten._log_softmax: _softened,
    aten.logsumexp: _log_sum,
    aten._log_softmax_backward_data: _soften_back,
    aten.index_add: _gather_sum,
    aten.index_put: _put,
    lattice_filter.definition.overloadpacket: _lattice,
    gaussian_filter.definition.overloadpacket: _gaussian,
}
IN_PLACE = {
    aten.add_: aten.add, aten.sub_: aten.sub, aten.mul_: aten.mul, aten.div_: aten.div, aten.copy_: aten.copy,
    aten.exp_: aten.exp, aten.neg_: aten.neg, aten.abs_: aten.abs, aten.pow_: aten.pow, aten.sign_: aten.sign,
    aten.fill_: aten.full, aten.zero_: aten.full, aten.addcmul_: aten.addcmul,
}  # fmt: skip
