"""Parameter groups: which parameters learn how fast and decay how much."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from torch import nn

from densefield.checks import check


class ParameterGroup(NamedTuple):
    """Parameters whose name matches `pattern` (re.search) learn at `factor` times the base rate."""

    pattern: str
    factor: float = 1.0
    weight_decay: float | None = None


def parameter_groups(
    module: nn.Module, learning_rate: float, weight_decay: float, groups: tuple[ParameterGroup, ...] = ()
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
