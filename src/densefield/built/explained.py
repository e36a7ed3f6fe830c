"""A pydantic error as one line: the key that is wrong, what was likely meant, and what may stand there."""

from __future__ import annotations

import difflib
import typing
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from densefield.checks import likely, shown


def explained(error: ValidationError, annotation: Any) -> str:
    """The first error of what was held against `annotation`, a model or a union of models told apart by `kind`."""
    # A misspelt required key is both missing and unknown: what the person wrote says more than what is not there.
    first = min(error.errors(), key=lambda each: each["type"] != "extra_forbidden")
    unknown = first["type"] == "extra_forbidden"
    place = first["loc"][:-1] if unknown else first["loc"]
    path, here, siblings = _followed(annotation, place)
    key = ".".join(str(part) for part in path)
    if unknown:
        return _unknown(str(first["loc"][-1]), key, here, siblings)
    if first["type"] == "union_tag_invalid":
        tag, kinds = str(first["ctx"]["tag"]), str(first["ctx"]["expected_tags"]).replace("'", "").split(", ")
        return f"{_dotted(key, 'kind')}: there is no {tag!r}{likely(tag, kinds)} Wanted one of: {', '.join(kinds)}"
    if first["type"] == "union_tag_not_found":
        kinds = sorted({kind for model in here for kind in _kinds(model)})
        written = [str(name) for name in first["input"]] if isinstance(first["input"], dict) else []
        slip = difflib.get_close_matches("kind", written, n=1)
        meant = f" (is {slip[0]!r} meant?)" if slip else ""
        return f"the key '{_dotted(key, 'kind')}' is missing{meant}; wanted one of: {', '.join(kinds)}"
    if first["type"] == "missing":
        return f"the key {key!r} is missing"
    if first["type"] in ("tuple_type", "list_type") and isinstance(first["input"], int | float | str):
        return f"{key}: wanted a list, such as [{first['input']}], received {shown(first['input'])}"
    told = first["type"].endswith("_type") or not isinstance(first["input"], dict | list)
    received = f", received {shown(first['input'])}" if told else ""
    return f"{key}: " * bool(key) + first["msg"].removeprefix("Value error, ") + received


def _unknown(name: str, key: str, here: Sequence[type[BaseModel]], siblings: Sequence[type[BaseModel]]) -> str:
    """An unknown key: of another kind than the chosen one, or misspelt."""
    known = sorted({field for model in here for field in model.model_fields})
    wanted = f"Wanted one of: {', '.join(known)}"
    takers = sorted(kind for model in siblings if name in model.model_fields for kind in _kinds(model))
    if takers and len(here) == 1:
        chosen, near = _kinds(here[0])[0], difflib.get_close_matches(name, known, n=1, cutoff=0.7)
        instead = f"did you mean {near[0]!r}?" if near else "leave it out."
        return f"{_dotted(key, name)}: {chosen} does not take it, only {', '.join(takers)}; {instead} {wanted}"
    return f"unknown key {_dotted(key, name)!r}{likely(name, known)} {wanted}"


def _dotted(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name


def _kinds(model: type[BaseModel]) -> tuple[str, ...]:
    field = model.model_fields.get("kind")
    return typing.get_args(field.annotation) if field is not None else ()


def _followed(
    annotation: Any, location: Sequence[int | str]
) -> tuple[list[int | str], list[type[BaseModel]], list[type[BaseModel]]]:
    """The keys along pydantic's `location`, the models that may stand at its end, and the other kinds beside them.

    pydantic puts the chosen kind of a union, and the branch of any other, between the keys; people did not write these.
    """
    path: list[int | str] = []
    here, siblings = _models(annotation), list[type[BaseModel]]()
    for part in location:
        chosen = [model for model in here if part in _kinds(model)]
        fields: list[FieldInfo] = [model.model_fields[part] for model in here if part in model.model_fields]
        if chosen:
            here, siblings = chosen, here
        elif isinstance(part, int):
            path.append(part)
        elif fields:
            path.append(part)
            here, siblings = [model for field in fields for model in _models(field.annotation)], []
    return path, here, siblings


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and not typing.get_args(annotation):
        return [annotation] if issubclass(annotation, BaseModel) else []
    return [model for part in typing.get_args(annotation) for model in _models(part)]
