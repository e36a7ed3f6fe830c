"""`densefield kinds`: what recipes can name, and the keys of each, as the builders' signatures have them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.padding import Padding
from rich.table import Table

from densefield.cli.terminal import plain_console, table

if TYPE_CHECKING:
    from densefield.built import Words


def kinds(kind: str | None = None, /) -> int:
    """List the kinds that recipes can name, or the keys of one: what each takes, its bounds and its default.

    Args:
        kind: Such as unet, dense_crf or poly.
    """
    from densefield.checks import InputError, likely
    from densefield.runs.kinds import PARTS
    from densefield.runs.short import NOTES

    console = plain_console(soft_wrap=False)
    if kind is None:
        for part, known in PARTS.items():
            console.print(part)
            _show(console, [(name, _paragraphs(model)[0]) for name, model in known.models.items()])
        console.print("densefield kinds KIND tells its keys")
        return 0
    found = [(part, known.models[kind]) for part, known in PARTS.items() if kind in known.models]
    if not found:
        names = [name for known in PARTS.values() for name in known.models]
        raise InputError(f"there is no kind {kind!r}{likely(kind.lower(), names)} Known are: {', '.join(names)}")
    for part, model in found:
        console.print(f"{part}: {{kind: {kind}}}", *_paragraphs(model), sep="\n")
        _show(console, list(_keys(model)), "key", "takes", "default", "")
        if kind in NOTES:
            console.print(NOTES[kind])
    return 0


def _paragraphs(model: type[Words]) -> list[str]:
    """The docstring without its line breaks, which fit no terminal but one."""
    return [" ".join(paragraph.split()) for paragraph in (model.__doc__ or "").split("\n\n")]


def _show(console: Console, rows: Sequence[Sequence[str]], *titles: str) -> None:
    """A table, or in a narrow terminal each row's first entry with the others below it."""
    if console.width >= 60:
        laid = table(*titles, justify="left") if titles else Table.grid(padding=(0, 2), pad_edge=True)
        for row in rows:
            laid.add_row(*row)
        console.print(laid)
        return
    for name, *rest in rows:
        console.print(Padding(name, (0, 0, 0, 2)))
        for title, text in zip(titles[1:] or ("",), rest, strict=True):
            if text:
                console.print(Padding(f"{title}: {text}" if title else text, (0, 0, 0, 4)))


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
        if "properties" not in about:
            return "a mapping"
        return f"{{kind: {kind}}}" if kind else f"{{{', '.join(about['properties'])}}}"
    name = {"integer": "whole number", "number": "number", "boolean": "true, false", "string": "text", "null": "null"}
    bounds = [f"{word} {about[key]:g}" for key, word in _BOUNDS.items() if abs(about.get(key, _ENDLESS)) < _ENDLESS]
    return " ".join([name.get(str(about.get("type")), str(about.get("type"))), *bounds])


_BOUNDS = {"minimum": "from", "exclusiveMinimum": "over", "maximum": "to", "exclusiveMaximum": "below"}
_ENDLESS = 1e12  # of numbers that may be anything
