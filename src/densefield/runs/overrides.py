"""A recipe's fields by dotted keys, as flags name them: `--stages.0.epochs 5`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from densefield.checks import InputError, check
from densefield.runs import kinds
from densefield.runs.short import expanded
from densefield.yaml_files import WRONG, parsed_yaml


def laid_over(plain: dict[str, Any], overrides: Sequence[str], source: str) -> dict[str, Any]:
    """`plain`, a recipe as plain values, with flags laid over it; raises `InputError` naming flag or `source`."""
    for key, value in _flags(overrides):
        _lay(plain, key, value, source)
        plain = written_out(plain, f"--{key}", laid_over=True)
    return plain


def written_out(plain: dict[str, Any], source: str, *, laid_over: bool = False) -> dict[str, Any]:
    """Short forms written out (`runs.short`), what is wrong told of `source`."""
    try:
        return expanded(plain, laid_over=laid_over)
    except InputError as error:
        raise InputError(f"{source}: {error}") from error


def _flags(tokens: Iterable[str]) -> Iterable[tuple[str, Any]]:
    """(dotted key, value) pairs of `--key value` and `--key=value`."""
    waiting: str | None = None
    for token in tokens:
        if waiting is not None:
            yield waiting, _value(token)
            waiting = None
        elif token.startswith("--") and len(token) > 2:
            key, equals, value = token[2:].partition("=")
            key = key.replace("-", "_")
            if equals:
                yield key, _value(value)
            else:
                waiting = key
        else:
            raise InputError(f"override {token!r}: wanted --key value, for example --stages.0.epochs 5")
    check(waiting is None, f"override --{waiting}: wanted a value after it")


def _value(text: str) -> Any:
    try:
        return parsed_yaml(text)
    except WRONG:  # no YAML, more digits than a number has
        return text


def _entries(place: list[Any]) -> str:
    return f"entries 0 to {len(place) - 1}" if len(place) > 1 else f"{'one entry, 0,' if place else 'no entries'}"


def _lay(plain: dict[str, Any], key: str, value: Any, source: str) -> None:
    """Set the dotted `key`; another `kind` of a part starts it afresh where its keys differ."""
    *path, last = key.split(".")
    place: Any = plain
    for step in path:
        if isinstance(place, list):
            right = step.isdigit() and int(step) < len(place)
            check(right, f"--{key}: {source} has {_entries(place)} there; received {step!r}")
            place = place[int(step)]
        else:
            check(isinstance(place, dict), f"--{key}: there is nothing below {step!r} in {source}")
            if place.get(step) is None:
                place[step] = {}
            place = place[step]
            check(isinstance(place, dict | list), f"--{key}: {step!r} is a single value in {source}")
    if isinstance(place, list):
        right = last.isdigit() and int(last) < len(place)
        check(right, f"--{key}: {source} has {_entries(place)} there; received {last!r}")
        place[int(last)] = value
    else:
        if last == "kind" and path and place.get("kind") != value:
            _begin_afresh(path[-1], place, value)
        place[last] = value


def _begin_afresh(name: str, part: dict[str, Any], kind: Any) -> None:
    """Take out of a part what another `kind` does not take over; optimizers and schedules keep what both take."""
    known = {"optimizer": kinds.OPTIMIZERS, "schedule": kinds.SCHEDULES}.get(name)
    after = None if known is None else known.models.get(str(kind))
    for key in list(part):
        if after is None or key not in after.model_fields:
            del part[key]
