"""`densefield kinds`: what recipes can name, and the keys of each, as the builders' signatures have them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rich.table import Table

from densefield.cli.terminal import plain_console

if TYPE_CHECKING:
    from densefield.built import Words


def kinds(kind: str | None = None, /) -> int:
    """List the kinds that recipes can name, or the keys of one: what each takes, its bounds and its default.

    Args:
        kind: Such as unet, dense_crf or poly.
    """
    from densefield.built.explained import likely
    from densefield.checks import InputError
    from densefield.runs.kinds import PARTS
    from densefield.runs.short import NOTES

    console = plain_console()
    every = {(part, name): model for part, known in PARTS.items() for name, model in known.models.items()}
    if kind is None:
        table = Table("part", "kind", "what it is", box=None)
        for (part, name), model in every.items():
            table.add_row(part, name, (model.__doc__ or "").split("\n")[0])
        console.print(table)
        console.print("densefield kinds KIND tells its keys")
        return 0
    found = [(part, model) for (part, name), model in every.items() if name == kind]
    if not found:
        names = [name for _, name in every]
        raise InputError(f"there is no kind {kind!r}{likely(kind.lower(), names)} Known are: {', '.join(names)}")
    for part, model in found:
        console.print(f"{part}: {{kind: {kind}}}")
        console.print(model.__doc__)
        table = Table("key", "takes", "default", "", box=None)
        for row in _keys(model):
            table.add_row(*row)
        console.print(table)
        if kind in NOTES:
            console.print(NOTES[kind])
    return 0


def _keys(model: type[Words]) -> Iterator[tuple[str, str, str, str]]:
    """Of each key: its name, what it takes, its default, and what is said of it."""
    schema = model.model_json_schema()
    for name, about in schema["properties"].items():
        if name == "kind":
            continue
        needed = name in schema.get("required", ())
        default = "" if needed or "default" not in about else _default(about["default"])
        yield (
            name,
            _takes(about, schema.get("$defs", {})),
            "needed" if needed else default,
            about.get("description", ""),
        )


def _default(value: Any) -> str:
    if isinstance(value, dict):
        return str(value.get("kind", value))
    if isinstance(value, list | tuple):
        return f"[{', '.join(_default(each) for each in value)}]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value) or '""'


def _takes(about: dict[str, Any], parts: dict[str, Any]) -> str:
    """A JSON schema in a few words."""
    if "$ref" in about:
        about = parts[about["$ref"].rsplit("/", 1)[-1]]
    if "enum" in about:
        return ", ".join(map(str, about["enum"]))
    if "const" in about:
        return str(about["const"])
    for union in ("anyOf", "oneOf"):
        if union in about:
            return " or ".join(dict.fromkeys(_takes(each, parts) for each in about[union]))
    if about.get("type") == "array":
        if "prefixItems" in about:
            return f"[{', '.join(_takes(each, parts) for each in about['prefixItems'])}]"
        return f"[{_takes(about.get('items', {}), parts)}, ...]"
    if about.get("type") == "object":
        kind = about.get("properties", {}).get("kind", {}).get("const")
        return f"{{kind: {kind}}}" if kind else f"{{{', '.join(about.get('properties', {}))}}}"
    name = {"integer": "whole number", "number": "number", "boolean": "true, false", "string": "text", "null": "null"}
    bounds = [f"{word} {about[key]:g}" for key, word in _BOUNDS.items() if key in about]
    return " ".join([name.get(str(about.get("type")), str(about.get("type"))), *bounds])


_BOUNDS = {"minimum": "from", "exclusiveMinimum": "over", "maximum": "to", "exclusiveMaximum": "below"}
