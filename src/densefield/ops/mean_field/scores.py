"""Scores at the door: what is refused, and what is made of infinite ones and of huge ones."""

from __future__ import annotations

import math

from torch import Tensor

from densefield.checks import InputError, check

FLOOR = -1e30  # below its pixel's best score by so much a label has no marginal, whatever the messages


def check_scores(
    name: str,
    values: Tensor,  # (B, K, *size)
    energies: bool = False,
) -> None:
    """Raise where scores hold NaN, +Inf, or -Inf for all labels of a pixel; with `energies`, which are their negatives.

    A score of -Inf, an energy of +Inf, says that the label cannot be: its marginal is 0.
    """
    if values.numel() == 0:
        return
    given = values.detach()
    least, most = (float(bound) for bound in given.aminmax())
    if math.isfinite(least) and math.isfinite(most):
        return
    never, hold = "Inf" if energies else "-Inf", "hold" if name == "scores" else "holds"
    wrong = math.isnan(least) or (least == -math.inf if energies else most == math.inf)
    check(not wrong, f"{name}: {hold} NaN or Inf; wanted finite numbers, or {never} for a label that cannot be")
    lost = (given.amin(1) if energies else given.amax(1)).isinf().nonzero().tolist()
    if lost:
        raise InputError(
            f"{name}: {hold} {never} for all labels of {len(lost)} pixels, the first at {tuple(lost[0][1:])}; "
            "wanted a finite number for at least one label"
        )


def levelled(
    scores: Tensor,  # (B, K, *size)
) -> Tensor:  # (B, K, *size)
    """Give checked scores less each pixel's best, which changes no marginal: beside a huge number messages would drown.

    Half types are widened.
    """
    check_scores("scores", scores)
    wide = scores.float() if scores.dtype.itemsize < 4 else scores
    return wide - wide.detach().amax(1, keepdim=True)
