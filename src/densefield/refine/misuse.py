"""Warnings for numbers of the right shape and the wrong meaning: probabilities or energies where scores are wanted."""

from __future__ import annotations

import warnings

from torch import Tensor

_SAMPLE = 4096  # pixels: enough to tell, too few to cost anything
_FEW = 512
_TOLERANCE = 1e-3


def looks_like_probabilities(values: Tensor) -> bool:  # (B, K, *size)
    """Whether each pixel's values lie in [0, 1] and sum to one."""
    some = _sample(values)
    if some is None or bool((some < 0).any()) or bool((some > 1 + _TOLERANCE).any()):
        return False
    return bool(((some.sum(1) - 1).abs() < _TOLERANCE).all())


def looks_like_energies(values: Tensor) -> bool:  # (B, K, *size)
    """Whether each pixel's values are -log p: none below zero, and exp(-values) sums to one."""
    some = _sample(values)
    if some is None or bool((some < 0).any()):
        return False
    return bool(((some.neg().exp().sum(1) - 1).abs() < _TOLERANCE).all())


def warn_of_wrong_scores(scores: Tensor, stacklevel: int = 3) -> None:
    """Warn where scores before softmax are wanted and something else seems to have been given."""
    if _any_negative(scores):
        return
    if looks_like_probabilities(scores):
        warnings.warn(
            "scores: look like probabilities (each pixel sums to 1); wanted scores before softmax, or log(p)",
            stacklevel=stacklevel,
        )
    elif looks_like_energies(scores):
        warnings.warn(
            "scores: look like energies -log(p); wanted scores before softmax, where larger is likelier: negate them",
            stacklevel=stacklevel,
        )


def _any_negative(values: Tensor) -> bool:
    """Whether a few pixels of each label tell already that these are neither, as they do of almost all scores."""
    return values.dim() > 2 and values.numel() > 0 and bool((values.detach()[0].flatten(1)[:, :_FEW] < 0).any())


def _sample(values: Tensor) -> Tensor | None:  # (some, K)
    """Evenly spread pixels, or None where one label leaves nothing to tell."""
    if values.shape[1] < 2 or values.numel() == 0:
        return None
    flat = values.detach().flatten(2)
    step = max(1, flat.shape[0] * flat.shape[2] // _SAMPLE)
    some: Tensor = flat[:, :, ::step].movedim(1, -1).reshape(-1, flat.shape[1]).double()
    return some
