"""Argument errors that teach: each names the argument or file, what was received and what is wanted."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the command line imports this file, and must not wait for torch
    from torch import Tensor


MOST = 2**31 - 1  # what native code counts up to


class InputError(ValueError):
    """A person's input that cannot be used; the message is one line that says what, where and what to do.

    The command line prints it without a traceback and exits with status 2.
    """


def check(condition: bool, message: str) -> None:
    """Raise `InputError(message)` unless `condition` holds."""
    if not condition:
        raise InputError(message)


def shown(value: object) -> str:
    """What was received, in a few words on one line: a value, or an array's type and shape."""
    shape, kind = getattr(value, "shape", None), getattr(value, "dtype", None)
    if kind is not None and isinstance(shape, tuple) and len(shape) > 0:
        return f"{type(value).__name__} of {kind} {tuple(shape)}"
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."


def counted(number: int, noun: str) -> str:
    """A number with its noun: "1 image", "2 images"."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def likely(name: str, known: Sequence[str]) -> str:
    """ "; did you mean …?" where one of `known` is like `name`, else a full stop."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    return f"; did you mean {near[0]!r}?" if near else "."


def one_line(error: BaseException, most: int = 200) -> str:
    """An error's text on one line, cut after `most` characters; its type where it says nothing."""
    return " ".join(str(error).split())[:most] or type(error).__name__


def whole_number(name: str, value: Any, least: int, most: int = MOST) -> int:
    """Give a whole number of any type (5, 5.0, NumPy's and torch's); raise unless it lies in `least` … `most`."""
    try:
        number = int(value)
        if number == value and least <= number <= most:
            return number
        whole = bool(number == value)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        whole = False
    wanted = f"{least} or more" if most == MOST else f"{least} to {most}"
    check(whole, f"{name}: wanted a whole number, {wanted}, received {shown(value)}")
    raise InputError(f"{name}: wanted {wanted if number < least else f'{least} to {most}'}, received {number}")


def finite_number(name: str, value: Any) -> float:
    """Give a number of any type as a float; raise for what is none, NaN and Inf."""
    try:
        number = math.nan if isinstance(value, str | bytes) else float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        number = math.nan
    if not math.isfinite(number):
        raise InputError(f"{name}: wanted a finite number, received {shown(value)}")
    return number


def check_tensor(name: str, value: object, wanted: str = "a tensor") -> None:
    """Raise for what is no tensor."""
    from torch import Tensor

    check(isinstance(value, Tensor), f"{name}: wanted {wanted}, received {shown(value)}")


def check_floating(name: str, tensor: Tensor) -> None:
    """Raise unless `tensor` is float32 or float64 (or a half type, which kernels widen)."""
    check_tensor(name, tensor, "a floating-point tensor")
    check(tensor.is_floating_point(), f"{name}: wanted a floating-point tensor, received {tensor.dtype}")


def check_finite(name: str, tensor: Tensor) -> None:
    """Raise when `tensor` holds NaN or Inf: by the least and the greatest number, one read; NaN spreads to both."""
    if tensor.is_floating_point() and tensor.numel():
        least, most = (float(bound) for bound in tensor.detach().aminmax())
        good = math.isfinite(least) and math.isfinite(most)
        check(good, f"{name}: holds NaN or Inf values; wanted finite numbers only")


def check_in_unit(name: str, image: Tensor, wanted: str, hint: str = "") -> None:
    """Raise unless pixels lie in [0, 1]; resampling may overshoot, 0 … 255 and normalized images are to be caught."""
    import torch

    low, high = (float(bound) for bound in torch.aminmax(image.detach()))
    check(low >= -0.5 and high <= 1.5, f"{name}: wanted {wanted}, received {low:g} to {high:g}{hint}")


def check_map(name: str, tensor: Tensor, channels: int | None = None) -> None:
    """Raise unless `tensor` is a floating-point (B, C, H, W) map, with `channels` channels where given."""
    wanted = f"(B, {'C' if channels is None else channels}, H, W)"
    check_tensor(name, tensor, f"a tensor {wanted}")
    right = tensor.dim() == 4 and (channels is None or tensor.shape[1] == channels)
    check(right, f"{name}: wanted shape {wanted}, received {tuple(tensor.shape)}")
    check_floating(name, tensor)


def check_target(name: str, target: Tensor, scores: Tensor, num_classes: int, ignore_index: int) -> None:
    """Raise unless `target` (B, H, W) fits `scores` (B, K, H, W) and holds only 0 … K-1 and `ignore_index`."""
    wanted = (scores.shape[0], *scores.shape[2:])
    check_tensor(name, target, f"a tensor {tuple(wanted)}")
    whole_number("ignore_index", ignore_index, -(2**63), 2**63 - 1)
    check(
        tuple(target.shape) == tuple(wanted),
        f"{name}: wanted shape {tuple(wanted)} to fit scores {tuple(scores.shape)}, received {tuple(target.shape)}",
    )
    whole = not (target.is_floating_point() or target.is_complex())
    check(whole, f"{name}: wanted an integer tensor of class indices, received {target.dtype}")
    if target.numel():
        outside = target[(target != ignore_index) & ((target < 0) | (target >= num_classes))]
        if outside.numel():
            raise InputError(
                f"{name}: holds class {int(outside[0])}, wanted 0 to {num_classes - 1} or ignore_index={ignore_index}"
            )
