"""`Operator`: an op of `torch.library` with what holds for each of ours.

Kernels and gradients run without autocast. A derivative that an op does not have is an error: forward mode always, and
a second time where the gradient is not made of ops that have one.
"""

from __future__ import annotations

import itertools
import typing
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor
from torch._compile import _disable_dynamo

from densefield.derivatives import differentiable_once, refuse_tangents
from densefield.ops.precision import is_autocast, without_autocast

_Kernel = TypeVar("_Kernel", bound=Callable[..., Any])
_TYPES = {int: "int", float: "float", bool: "bool"}
_LIBRARY = torch.library.Library("densefield", "FRAGMENT")


class Operator:
    """An op `densefield::NAME` from its kernel, of one type of device or of any.

    Where no schema is given, it is the kernel's annotations.
    """

    def __init__(
        self,
        name: str,
        kernel: Callable[..., Any],
        schema: str | None = None,
        *,
        device_types: str | None = None,
        advice: str = "",
    ) -> None:
        self.name = name
        self.advice = advice
        schema = schema or torch.library.infer_schema(kernel, mutates_args=())
        _LIBRARY.define(name + schema, tags=torch.Tag.pt2_compliant_tag)
        self.definition = getattr(torch.ops.densefield, name).default
        self.kernel(device_types)(kernel)

    def __call__(self, *inputs: Any) -> Any:
        refuse_tangents(self.name, inputs, self.advice)
        return self.definition(*inputs)

    def kernel(self, device_type: str | None) -> Callable[[_Kernel], _Kernel]:
        """Register the kernel of one type of device, or that of all others."""

        def register(kernel: _Kernel) -> _Kernel:
            _LIBRARY.impl(self.name, _wide(kernel), device_type.upper() if device_type else "CompositeExplicitAutograd")
            return kernel

        return register

    def fake(self, rule: _Kernel) -> _Kernel:
        """Register the shapes of what the op gives."""
        return torch.library.register_fake(f"densefield::{self.name}", rule, lib=_LIBRARY)

    def gradient(self, backward: Callable[..., Any], setup_context: Callable[..., Any], *, once: bool = False) -> None:
        """Register the gradient `backward(ctx, *gradients)`, a tuple for all inputs, or for the first of them.

        Where `once`, it is `backward(ctx, saved, *gradients)`, and no gradient of it may be asked.
        """
        wide = _wide(backward)
        self.backward = differentiable_once(self.name, wide, self.advice) if once else wide
        self.setup_context = setup_context

        @_disable_dynamo  # as kernels
        def recorded(*inputs: Any) -> Any:
            if not (torch.is_grad_enabled() and any(_learns(value) for value in inputs)):
                return self.below_autograd(*inputs)
            outputs: list[int | None] = []
            found = _Recorded.apply(self, _lengths(inputs), outputs, *_spread(inputs))
            return _gathered(found, outputs) if outputs else found

        _LIBRARY.impl(self.name, recorded, "Autograd")

    def below_autograd(self, *inputs: Any) -> Any:
        """Compute, as autograd's own kernels do once they have noted what they need."""
        with torch._C._AutoDispatchBelowAutograd():
            return self.definition(*inputs)


class _Recorded(torch.autograd.Function):
    """A call of an op for autograd, which knows tensors, but no lists of them: they are spread out.

    `inputs` and `outputs` are the lengths of lists, None for what is none. (`torch.library.register_autograd` spreads
    lists too, and takes 0.2 ms more for it.)
    """

    @staticmethod
    def forward(ctx: Any, op: Operator, inputs: list[int | None], outputs: list[int | None], *flat: Any) -> Any:
        given = _gathered(flat, inputs)
        output = op.below_autograd(*given)
        op.setup_context(ctx, given, output)
        ctx.op, ctx.inputs, ctx.outputs = op, inputs, outputs
        ctx.needs_input_grad = _gathered(ctx.needs_input_grad[3:], inputs)
        if isinstance(output, Tensor):
            return output
        outputs += _lengths(output)
        return tuple(_spread(output))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> Any:
        found = ctx.op.backward(ctx, *(_gathered(gradients, ctx.outputs) if ctx.outputs else gradients))
        lists = itertools.zip_longest(found, ctx.inputs)
        by_inputs = _spread([None] * n if one is None and n is not None else one for one, n in lists)
        return (None, None, None, *by_inputs)


def operator(
    name: str, *, device_types: str | None = None, advice: str = ""
) -> Callable[[Callable[..., Any]], Operator]:
    """Make the decorated kernel an `Operator`; `advice` ends the errors about its derivatives."""
    return lambda kernel: Operator(name, kernel, device_types=device_types, advice=advice)


def schema_of(options: type[NamedTuple]) -> str:
    """The fields of an op's options as arguments of its schema; words of a few are texts there."""
    hints = typing.get_type_hints(options)
    return ", ".join(f"{_TYPES.get(hint, 'str')} {name}" for name, hint in hints.items())


def _learns(value: Any) -> bool:
    if isinstance(value, Tensor):
        return value.requires_grad
    return isinstance(value, list | tuple) and any(_learns(one) for one in value)


def _lengths(values: Iterable[Any]) -> list[int | None]:
    return [len(value) if isinstance(value, list | tuple) else None for value in values]


def _spread(values: Iterable[Any]) -> list[Any]:
    return [one for value in values for one in (value if isinstance(value, list | tuple) else (value,))]


def _gathered(flat: Iterable[Any], lengths: Sequence[int | None]) -> tuple[Any, ...]:
    rest = iter(flat)
    return tuple(next(rest) if length is None else list(itertools.islice(rest, length)) for length in lengths)


def _wide(function: Callable[..., Any]) -> Callable[..., Any]:
    @_disable_dynamo  # a compiled function that calls the op uncompiled would else be followed into it
    def call(*arguments: Any) -> Any:
        for value in arguments:
            if isinstance(value, Tensor):
                if not is_autocast(value.device):
                    break
                with without_autocast(value.device):
                    return function(*arguments)
        return function(*arguments)

    return call
