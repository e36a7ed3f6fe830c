"""What networks of libraries have in common: options held against a signature, and complaints told in one line."""

from __future__ import annotations

import contextlib
import inspect
import json
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, TypeAlias

import torch
from torch.overrides import TorchFunctionMode

from densefield.checks import InputError, likely, one_line

Options: TypeAlias = dict[str, Any]  # what JSON holds
NONE: Options = {}


def options_of(place: str, options: Mapping[str, Any], builder: Callable[..., Any], given: Collection[str]) -> Options:
    """`options` as JSON has them; raises `InputError` that begins with `place` unless all are arguments of `builder`.

    `given` are the arguments that do not come from there.
    """
    name = getattr(builder, "__name__", type(builder).__name__)
    parameters = inspect.signature(builder).parameters.values()
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    known = [each.name for each in parameters if each.kind in named and each.name not in given]
    return plain_options(place, name, options, known)


def plain_options(place: str, name: str, options: Mapping[str, Any], known: Collection[str]) -> Options:
    """`options` as JSON has them; raises `InputError` that begins with `place` unless all are `known` to `name`."""
    names = sorted(known)
    for key in options:
        if key not in names:
            wanted = f"Wanted some of: {', '.join(names)}" if names else "It takes none"
            raise InputError(f"{place}: {name} takes no {key!r}{likely(str(key), names)} {wanted}")
    try:
        plain: Options = json.loads(json.dumps(options, allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"{place}: wanted what JSON holds ({one_line(error)})") from error
    return plain


def check_known(place: str, name: str, known: Collection[str]) -> None:
    """Raise `InputError` that begins with `place` where `name` is not among what is `known`, with the likely one."""
    if name not in known:
        wanted = f" Wanted one of: {', '.join(sorted(known))}" if len(known) <= 20 else ""
        raise InputError(f"{place}: there is no {name!r}{likely(name, sorted(known))}{wanted}")


@contextlib.contextmanager
def building(kind: str) -> Iterator[None]:
    """Tell what a library's own code complains of in one line that begins with `kind`.

    On the meta device, where shapes are tried before memory is set aside, what encoders count by is a number all the
    same: some read their rates of dropping layers off a tensor.
    """
    try:
        with _Counting():
            yield
    except InputError:
        raise
    except Exception as error:
        if isinstance(error, MemoryError) or "memory" in str(error):
            raise
        raise InputError(f"{kind}: does not accept its arguments ({one_line(error)})") from error


class _Counting(TorchFunctionMode):
    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if function is torch.linspace:
            kwargs = {"device": "cpu", **kwargs}
        return function(*args, **kwargs)
