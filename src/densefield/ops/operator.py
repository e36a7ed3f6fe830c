"""`Operator`: `torch.library.custom_op` with what holds for each op of ours.

Kernels and gradients run without autocast. A derivative that an op does not have is an error: forward mode always, and
a second time where the gradient is not made of ops that have one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor

from densefield.derivatives import differentiable_once, refuse_tangents
from densefield.ops.precision import without_autocast

_Kernel = TypeVar("_Kernel", bound=Callable[..., Any])


class Operator:
    """An op of any device, `densefield::NAME`, from its kernel, whose annotations are its schema."""

    def __init__(
        self, name: str, kernel: Callable[..., Any], device_types: str | None = None, advice: str = ""
    ) -> None:
        self.name = name
        self.advice = advice
        schema = torch.library.infer_schema(kernel, mutates_args=())
        self.definition = torch.library.custom_op(
            f"densefield::{name}", _wide(kernel), mutates_args=(), device_types=device_types, schema=schema
        )

    def __call__(self, *inputs: Any) -> Any:
        refuse_tangents(self.name, inputs, self.advice)
        return self.definition(*inputs)

    def kernel(self, device_type: str) -> Callable[[_Kernel], _Kernel]:
        """Register the kernel of one type of device."""

        def register(kernel: _Kernel) -> _Kernel:
            self.definition.register_kernel(device_type)(_wide(kernel))
            return kernel

        return register

    def fake(self, rule: _Kernel) -> _Kernel:
        """Register the shapes of what the op gives."""
        self.definition.register_fake(rule)
        return rule

    def gradient(self, backward: Callable[..., Any], setup_context: Callable[..., Any], *, once: bool = False) -> None:
        """Register the gradient `backward(ctx, *gradients)`.

        Where `once`, it is `backward(ctx, saved, *gradients)`, and no gradient of it may be asked.
        """
        wide = _wide(backward)
        given = differentiable_once(self.name, wide, self.advice) if once else wide
        self.definition.register_autograd(given, setup_context=setup_context)


def operator(
    name: str, *, device_types: str | None = None, advice: str = ""
) -> Callable[[Callable[..., Any]], Operator]:
    """Make the decorated kernel an `Operator`; `advice` ends the errors about its derivatives."""
    return lambda kernel: Operator(name, kernel, device_types, advice)


def _wide(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*arguments: Any) -> Any:
        device = next((value.device for value in arguments if isinstance(value, Tensor)), torch.device("cpu"))
        with without_autocast(device):
            return function(*arguments)

    return call
