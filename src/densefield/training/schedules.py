"""Learning-rate schedules as pure functions: the factor on the base rate at a step."""

from __future__ import annotations

import math
from typing import Annotated, TypeAlias

from pydantic import Field

from densefield.built import described
from densefield.built.bounds import Share

Every: TypeAlias = Annotated[int, Field(ge=1, le=1_000_000_000, description="steps from one fall to the next")]
Gamma: TypeAlias = Annotated[float, Field(gt=0, le=1)]


@described()
def constant(step: int, *, total_steps: int) -> float:
    """1 throughout."""
    return 1.0


@described()
def poly(step: int, *, total_steps: int, power: Annotated[float, Field(gt=0, le=100)] = 0.9) -> float:
    """(1 - step / total_steps)^power: DeepLab v2, section 4.1.1."""
    return max(0.0, 1.0 - step / total_steps) ** power


@described()
def step(step: int, *, total_steps: int, every: Every = 2000, gamma: Gamma = 0.1) -> float:
    """gamma^⌊step / every⌋: DeepLab v1, section 4.1, with its 0.1 every 2000 steps."""
    return float(gamma ** (step // every))


@described()
def exponential(step: int, *, total_steps: int, steps_per_epoch: int, gamma: Gamma = 0.995) -> float:
    """gamma^epoch, held within an epoch: FC-DenseNet, section 4.1."""
    return float(gamma ** (step // steps_per_epoch))


@described()
def cosine(step: int, *, total_steps: int, warmup: Share = 0.05) -> float:
    """Linear rise over the first `warmup` of all steps, then half a cosine down to 0 (Loshchilov & Hutter 2017)."""
    rise = max(1, round(warmup * total_steps))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, (step - rise) / max(1, total_steps - rise))))
