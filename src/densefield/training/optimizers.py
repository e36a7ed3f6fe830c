"""Optimizers as recipes know them, and parameter groups: which parameters learn how fast and decay how much."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Annotated, Any, TypeAlias

import torch
from pydantic import AfterValidator, Field
from torch import nn

from densefield.built import described
from densefield.built.bounds import Positive, Share, Weight
from densefield.checks import check

Epsilon: TypeAlias = Annotated[float, Field(gt=0, le=1)]


def _readable(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"not a regular expression ({error})") from error
    return pattern


@described("parameter_group")
@dataclasses.dataclass(frozen=True)
class ParameterGroup:
    """Parameters whose name matches `pattern` (re.search) learn at `factor` times the base rate."""

    pattern: Annotated[str, Field(max_length=1000), AfterValidator(_readable)]
    factor: Weight = 1.0
    weight_decay: Weight | None = None


@described()
def sgd(
    module: nn.Module,
    *,
    learning_rate: Positive = 1e-3,
    weight_decay: Weight = 1e-4,
    momentum: Share = 0.9,
    groups: Sequence[ParameterGroup] = (),
) -> torch.optim.Optimizer:
    """Stochastic gradient descent."""
    return torch.optim.SGD(
        parameter_groups(module, learning_rate, weight_decay, groups), lr=learning_rate, momentum=momentum
    )


@described()
def rmsprop(
    module: nn.Module,
    *,
    learning_rate: Positive = 1e-3,
    weight_decay: Weight = 1e-4,
    momentum: Share = 0.0,
    alpha: Share = 0.9,
    eps: Epsilon = 1e-6,
    groups: Sequence[ParameterGroup] = (),
) -> torch.optim.Optimizer:
    """RMSprop; `alpha` (its decay) and `eps` are by default those of the FC-DenseNet paper's code."""
    split = parameter_groups(module, learning_rate, weight_decay, groups)
    return torch.optim.RMSprop(split, lr=learning_rate, alpha=alpha, eps=eps, momentum=momentum)


@described()
def adam(
    module: nn.Module,
    *,
    learning_rate: Positive = 1e-3,
    weight_decay: Weight = 1e-4,
    momentum: Annotated[Share, Field(description="β1")] = 0.9,
    eps: Epsilon = 1e-8,
    groups: Sequence[ParameterGroup] = (),
) -> torch.optim.Optimizer:
    """Adam (Kingma and Ba 2015)."""
    split = parameter_groups(module, learning_rate, weight_decay, groups)
    return torch.optim.Adam(split, lr=learning_rate, betas=(momentum, 0.999), eps=eps, fused=_fused(module))


@described()
def adamw(
    module: nn.Module,
    *,
    learning_rate: Positive = 1e-3,
    weight_decay: Weight = 1e-4,
    momentum: Annotated[Share, Field(description="β1")] = 0.9,
    eps: Epsilon = 1e-8,
    groups: Sequence[ParameterGroup] = (),
) -> torch.optim.Optimizer:
    """Adam whose weights decay apart from its gradients (Loshchilov and Hutter 2019)."""
    split = parameter_groups(module, learning_rate, weight_decay, groups)
    return torch.optim.AdamW(split, lr=learning_rate, betas=(momentum, 0.999), eps=eps, fused=_fused(module))


def _fused(module: nn.Module) -> bool | None:
    """On a CPU one fused kernel takes a third of the time; elsewhere torch chooses."""
    return True if all(parameter.is_cpu for parameter in module.parameters()) else None


def parameter_groups(
    module: nn.Module, learning_rate: float, weight_decay: float, groups: Sequence[ParameterGroup] = ()
) -> list[dict[str, Any]]:
    """Split the parameters of `module` for an optimizer: the first matching group wins, the rest keeps the base values.

    Biases and normalisation parameters (one-dimensional) never decay unless a group says so. Raises `InputError` for a
    group that matches nothing.
    """
    split: dict[tuple[float, float], list[nn.Parameter]] = {}
    used = set()
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            continue
        group = next((group for group in groups if re.search(group.pattern, name)), None)
        factor, decay = 1.0, weight_decay if parameter.dim() > 1 else 0.0
        if group is not None:
            used.add(group.pattern)
            factor = group.factor
            decay = decay if group.weight_decay is None else group.weight_decay
        split.setdefault((learning_rate * factor, decay), []).append(parameter)
    for group in groups:
        check(group.pattern in used, f"parameter group {group.pattern!r} matches no parameter that learns")
    return [{"params": params, "lr": rate, "weight_decay": decay} for (rate, decay), params in split.items()]
