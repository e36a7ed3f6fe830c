"""A network remembers the function and the arguments that built it, so that it can be saved as a few words of JSON."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple, ParamSpec, TypeVar

from torch import nn

P = ParamSpec("P")
M = TypeVar("M", bound=nn.Module)


class Built(NamedTuple):
    """The name of the function that built a module, and every argument it was given or took by default."""

    function: str
    arguments: dict[str, Any]


def remembered(build: Callable[P, M]) -> Callable[P, M]:
    """Decorate a function that builds a module: the module gets `built_by`, a `Built`, and is otherwise untouched."""
    signature = inspect.signature(build)

    @functools.wraps(build)
    def builder(*args: P.args, **kwargs: P.kwargs) -> M:
        module = build(*args, **kwargs)
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        object.__setattr__(module, "built_by", Built(build.__name__, dict(bound.arguments)))
        return module

    return builder


def built_by(module: nn.Module) -> Built | None:
    """How `module` was built, or None when no remembering function built it."""
    built = getattr(module, "built_by", None)
    return built if isinstance(built, Built) else None
