"""A person's own network, by the place of the function that builds it: "package.module:function".

Nothing runs because a file says so: whoever builds from a recipe or a saved model holds the target against the one
that the person named (`check_trusted`).
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import Field
from torch import nn

from densefield.built import described
from densefield.built.bounds import Channels, Count
from densefield.checks import InputError, check, likely, one_line, shown
from densefield.networks.adapted import adapted, multiple_of
from densefield.networks.libraries import NONE, Options, building, plain_options
from densefield.protocols import speaks

_TARGET = r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$"


@described()
def python(
    num_classes: Count,
    in_channels: Channels = 3,
    *,
    target: Annotated[str, Field(pattern=_TARGET, description="package.module:function")],
    arguments: Options = NONE,
) -> nn.Module:
    """A network of your own: what `function(num_classes, in_channels, **arguments)` of a module gives.

    It has as many parameters as yours has (`numel()`). A class may stand for the function. A network that does not
    speak our protocol is adapted. In a recipe or a saved model it is built only where you name it too: --trust.
    """
    function = _found(target)
    with building(f"python: {target}"):
        plain = plain_options(
            f"python: arguments of {target}", function.__name__, arguments, _taken(function, arguments)
        )
        network = function(num_classes, in_channels, **plain)
    check(isinstance(network, nn.Module), f"python: {target}: wanted an nn.Module of it, received {shown(network)}")
    return network if speaks(network) else adapted(network, num_classes, in_channels, multiple=multiple_of(network))


def check_trusted(target: object, trust: str | None, source: str) -> None:
    """Raise `InputError` that begins with `source` unless a person has named `target` too; nothing is imported here."""
    code = f"{source}: its network is code, {target}, and that runs only where you name it too"
    check(trust is not None, f"{code}: --trust {target}, in Python trust={str(target)!r}")
    check(target == trust, f"{code}; trusted was {trust}, and nothing was run")


def _taken(function: Callable[..., Any], arguments: Options) -> set[str]:
    """The names of what a function takes behind its first two; whatever there is where it takes any."""
    parameters = list(inspect.signature(function).parameters.values())[2:]
    anything = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters)
    return set(arguments) if anything else {each.name for each in parameters}


def _found(target: str) -> Callable[..., Any]:
    """The function at `target`."""
    right = isinstance(target, str) and re.fullmatch(_TARGET, target) is not None
    check(right, f"python: target: wanted package.module:function, received {shown(target)}")
    place, _, name = target.partition(":")
    try:
        module = importlib.import_module(place)
    except Exception as error:  # a person's module may end in any way
        raise InputError(f"python: target: {place} cannot be imported ({one_line(error)})") from error
    found: Callable[..., Any] | None = getattr(module, name, None)
    names = [each for each in vars(module) if not each.startswith("_")]
    if not callable(found):
        raise InputError(f"python: target: {place} has no function {name!r}{likely(name, names)}")
    return found
