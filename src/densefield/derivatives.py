"""Derivatives that a layer does not have are an error where they are asked for, never a number without its part."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad


def differentiable_once(name: str, backward: Callable[..., Any], advice: str = "") -> Callable[..., Any]:
    """Give what autograd wants, of `backward(ctx, saved, *gradients)`; to differentiate its result is an error.

    `torch.autograd.function.once_differentiable` does not serve: its error lies on no way to the inputs, so that
    `torch.autograd.grad` by them passes it by.
    """

    def guarded(ctx: Any, *gradients: Tensor | None) -> Any:
        saved = ctx.saved_tensors
        with torch.no_grad():
            results = backward(ctx, saved, *gradients)
        if not torch.is_grad_enabled():  # nobody asked for create_graph
            return results
        found = list(_tensors(results))
        sources = [tensor for tensor in (*gradients, *saved) if tensor is not None]
        refuse_tangents(name, sources, advice)
        message = f"{name}: differentiable once; a gradient of its gradient was asked for{advice}"
        marked = iter(_Once.apply(message, len(found), *found, *sources))
        return _replaced(results, marked)

    return guarded


def refuse_tangents(name: str, values: Iterable[object], advice: str = "") -> None:
    """Raise where a tensor carries a tangent of forward-mode differentiation."""
    if forward_ad._current_level < 0:
        return
    for tensor in _tensors(values):
        if any(forward_ad.unpack_dual(level).tangent is not None for level in _levels(tensor)):
            raise NotImplementedError(
                f"{name}: has no derivative in forward mode (torch.func.jvp, jacfwd, hessian); use backward mode"
                f"{advice}"
            )


class _Once(torch.autograd.Function):
    """Gradients as they are, connected with all that they depend on."""

    @staticmethod
    def forward(message: str, count: int, *tensors: Tensor) -> tuple[Tensor, ...]:
        return tuple(tensor.detach() for tensor in tensors[:count])

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
        ctx.message = inputs[0]

    @staticmethod
    def backward(ctx: Any, *_: Tensor) -> Any:
        raise NotImplementedError(ctx.message)


def _tensors(values: object) -> Iterator[Tensor]:
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, list | tuple):
        for value in values:
            yield from _tensors(value)


def _replaced(values: Any, tensors: Iterator[Tensor]) -> Any:
    """The same structure with its tensors replaced in order."""
    if isinstance(values, Tensor):
        return next(tensors)
    if isinstance(values, list | tuple):
        return type(values)(_replaced(value, tensors) for value in values)
    return values


def _levels(tensor: Tensor) -> Iterator[Tensor]:
    """A tensor and what `torch.func`'s transforms have wrapped."""
    yield tensor
    while torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        tensor = torch._C._functorch.get_unwrapped(tensor)
        yield tensor
