"""Argument errors that teach: each names the argument or file, what was received and what is wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the command line imports this file, and must not wait for torch
    from torch import Tensor


class InputError(ValueError):
    """A person's input that cannot be used; the message is one line that says what, where and what to do.

    The command line prints it without a traceback and exits with status 2.
    """


def check(condition: bool, message: str) -> None:
    """Raise `InputError(message)` unless `condition` holds."""
    if not condition:
        raise InputError(message)


def check_floating(name: str, tensor: Tensor) -> None:
    """Raise unless `tensor` is float32 or float64 (or a half type, which kernels widen)."""
    check(tensor.is_floating_point(), f"{name}: wanted a floating-point tensor, received {tensor.dtype}")


def check_finite(name: str, tensor: Tensor) -> None:
    """Raise when `tensor` holds NaN or Inf."""
    check(bool(tensor.isfinite().all()), f"{name}: holds NaN or Inf values; wanted finite numbers only")


def check_map(name: str, tensor: Tensor, channels: int | None = None) -> None:
    """Raise unless `tensor` is a floating-point (B, C, H, W) map, with `channels` channels where given."""
    wanted = f"(B, {'C' if channels is None else channels}, H, W)"
    right = tensor.dim() == 4 and (channels is None or tensor.shape[1] == channels)
    check(right, f"{name}: wanted shape {wanted}, received {tuple(tensor.shape)}")
    check_floating(name, tensor)


def check_target(name: str, target: Tensor, scores: Tensor, num_classes: int, ignore_index: int) -> None:
    """Raise unless `target` (B, H, W) fits `scores` (B, K, H, W) and holds only 0 … K-1 and `ignore_index`."""
    wanted = (scores.shape[0], *scores.shape[2:])
    check(
        tuple(target.shape) == tuple(wanted),
        f"{name}: wanted shape {tuple(wanted)} to fit scores {tuple(scores.shape)}, received {tuple(target.shape)}",
    )
    check(not target.is_floating_point(), f"{name}: wanted an integer tensor of class indices, received {target.dtype}")
    if target.numel():
        outside = target[(target != ignore_index) & ((target < 0) | (target >= num_classes))]
        if outside.numel():
            raise InputError(
                f"{name}: holds class {int(outside[0])}, wanted 0 to {num_classes - 1} or ignore_index={ignore_index}"
            )
