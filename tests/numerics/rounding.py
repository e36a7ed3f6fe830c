"""How far rounding may carry a result: a bound that is computed beside the reference, from what the reference sums.

The argument. A type with unit roundoff u gives fl(a op b) = (a op b)(1 + d), |d| <= u, for each of its operations. So
the error of a result is bounded, to first order, by what each operation hands on of its operands' errors, |da| |b| +
|a| |db| for a product, plus u times its own size; for a sum of n terms, in *whatever order*, by the terms' errors plus
(n - 1) u times the sum of their *absolute* values (Higham, Accuracy and Stability of Numerical Algorithms, 2002,
sections 3.1, 3.3 and 4.2), or 6 sqrt(n) u times it where n is large (Higham and Mary, A new approach to probabilistic
rounding error analysis, 2019). `Rounding` runs a reference in float64 and carries that bound, u being that of the type
under test, along with every number and through the backward pass, with zeros left out of n. What cancels keeps the size
of its parts; what is ill-conditioned has a wide bound.

Kernels take other steps than the reference: a reciprocal in place of a division, moments in place of differences, an
exp of a few units in the last place. None rounds a number more than STEPS times where the reference does it once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from rounding_rules import EXP, IN_PLACE, MOVES, RULES, SILENT, moved

STEPS = 2
Beside = float | Tensor


def unit_roundoff(dtype: torch.dtype) -> float:
    return torch.finfo(dtype).eps / 2


def in_float64(records: Sequence[Any]) -> list[Any]:
    """Give dataclasses with the tensors that stand in their fields in float64; lattices and the like stay."""
    tensors = [{n: v.double() for n, v in vars(record).items() if isinstance(v, Tensor)} for record in records]
    return [replace(record, **mine) for record, mine in zip(records, tensors, strict=True)]


def barycentric_rounding(features: Tensor, dtype: torch.dtype) -> float:
    """Bound the rounding of a lattice's weights, which are differences of coordinates that grow with the features.

    Features (B, d, N) are scaled (2 roundings, the factor's among them), summed over axes (d), multiplied by their
    number and subtracted (2), divided by d + 1 (2), and the whole part taken off exactly; a weight is the difference of
    two such numbers.
    """
    d = features.shape[1]
    places = torch.arange(1.0, d + 1, dtype=torch.float64)[:, None]
    scaled = features.double().abs() * math.sqrt(2 / 3) / (places * (places + 1)).sqrt()
    coordinates = scaled.flip(1).cumsum(1).flip(1) + places * scaled
    return 2 * (d + 6) * unit_roundoff(dtype) * float(coordinates.max())


def sums_to_one(log_q: Tensor, dim: int = 1) -> None:
    """Hold K log-marginals to marginals that add up to 1.

    log q is a logit less the greatest, rounded at most |log q|, less the logarithm of a sum of K exponentials of such
    numbers (EXP each, and K), rounded again, and once more where it is kept in a half type. Weighted by q, |log q| is
    the entropy.
    """
    wide = log_q.detach().double()
    entropy = -torch.where(wide.isinf(), 0.0, wide.exp() * wide).sum(dim)
    unit = unit_roundoff(torch.float64 if log_q.dtype == torch.float64 else torch.float32)
    bound = STEPS * (unit * (3 * entropy + log_q.shape[dim] + 2 * EXP) + unit_roundoff(log_q.dtype) * entropy)
    gap = (wide.exp().sum(dim) - 1).abs()
    assert bool((gap <= bound).all()), f"off by {gap.max():.3g}, rounding explains {bound.flatten()[gap.argmax()]:.3g}"


@dataclass(frozen=True)
class Bounds:
    """Results of a reference, and how many units roundoff they may be off."""

    values: list[Tensor | None]
    units: list[Tensor | None]
    dtype: torch.dtype

    def of(self, index: int, dtype: torch.dtype | None = None) -> Tensor:
        """What rounding explains in a result; the reference, computed in its own type, has been rounded as well."""
        value, units = self.values[index], self.units[index]
        assert value is not None
        assert units is not None
        dtype = dtype or self.dtype
        least = torch.finfo(dtype).tiny  # kernels count denormal numbers as zero
        return STEPS * units * (unit_roundoff(dtype) + unit_roundoff(value.dtype)) + least

    def hold(self, found: Iterable[Tensor | None], dtype: torch.dtype | None = None, beside: Beside = 0.0) -> None:
        """Compare with what was computed in a type, the one that the bounds were computed for if none is given."""
        for index, (ours, theirs) in enumerate(zip(found, self.values, strict=True)):
            if ours is None or theirs is None:
                assert ours is None or not ours.any(), f"result {index} should be 0"
                continue
            assert torch.isfinite(ours).all(), f"result {index} is not finite"
            gap, bound = (ours.detach().double() - theirs).abs(), self.of(index, dtype) + beside
            worst = int((gap - bound).argmax())
            said = f"result {index}: off by {gap.flatten()[worst]:.3g}, rounding explains {bound.flatten()[worst]:.3g}"
            assert bool((gap <= bound).all()), said


class Rounding(TorchDispatchMode):
    """While it is active, every float64 number computed carries its bound; inputs are taken to be exact."""

    def __init__(self, dtype: torch.dtype, stored: torch.dtype | None = None) -> None:
        super().__init__()
        self.dtype, self.unit = dtype, unit_roundoff(dtype)
        self.stored = 0.0 if stored is None else unit_roundoff(stored)  # of what filters read, where that is narrower
        self._bounds: dict[int, tuple[Tensor, Tensor]] = {}  # of a storage, so that views share it

    def error(self, value: Any) -> Any:
        """The bound on a tensor's elements, as a view that moves with it; 0 of what is exact."""
        if not isinstance(value, Tensor) or value.untyped_storage().data_ptr() not in self._bounds:
            return 0.0
        bound = self._bounds[value.untyped_storage().data_ptr()][1]
        return bound.as_strided(value.shape, value.stride(), value.storage_offset())

    def _carry(self, value: Tensor, bound: Any) -> None:
        storage = value.untyped_storage()
        if storage.data_ptr() not in self._bounds:
            if not isinstance(bound, Tensor):
                return
            empty = torch.zeros(storage.nbytes() // value.element_size(), dtype=torch.float64)
            self._bounds[storage.data_ptr()] = (value.detach(), empty)
        self.error(value)[...] = bound

    def bounds(self, *values: Tensor | None) -> Bounds:
        """Take results of the reference with their bounds, and leave all else to be forgotten."""
        bounds = [None if v is None else torch.as_tensor(self.error(v)).expand(v.shape) / self.unit for v in values]
        return Bounds([None if v is None else v.detach() for v in values], bounds, self.dtype)

    def within(self, found: Iterable[Tensor | None], wanted: Iterable[Tensor | None], beside: Beside = 0.0) -> None:
        """Hold results against those of the reference, None being 0; `beside` is what else may come between them."""
        self.bounds(*wanted).hold(found, beside=beside)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        packet = func.overloadpacket
        if packet in SILENT or torch.Tag.inplace_view in func.tags or _is_view(func):
            return func(*args, **kwargs)
        in_place = func._schema.is_mutable
        rule = RULES.get(IN_PLACE.get(packet, packet)) or (moved(func) if packet in MOVES else None)
        if in_place:
            assert IN_PLACE.get(packet) is not None, f"no rule for {func}"
            target = args[0]
            if not target.is_floating_point():
                return func(*args, **kwargs)
            assert rule is not None
            before = target.clone()
            self._carry(before, self.error(target))
            result = func(*args, **kwargs)
            self._carry(target, rule(self, target, before, *args[1:], **kwargs))
            return result
        result = func(*args, **kwargs)
        for index, one in enumerate(result if isinstance(result, (tuple, list)) else (result,)):
            if isinstance(one, Tensor) and one.is_floating_point():
                assert rule is not None, f"no rule for {func}"
                bound = rule(self, one, *args, **kwargs)
                self._carry(one, bound[index] if isinstance(bound, (tuple, list)) else bound)
        return result


def _is_view(func: Any) -> bool:
    return any(r.alias_info is not None and not r.alias_info.is_write for r in func._schema.returns)
