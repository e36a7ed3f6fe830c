"""YAML that a person wrote, read safely: no tags, no aliases, no page of text that stands for gigabytes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from densefield.checks import InputError, check, one_line

MOST_BYTES = 256 * 1024  # a recipe or a class list takes two thousand; anything longer is the wrong file
WRONG = (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError)  # ValueError: digits without end


class _Loader(yaml.SafeLoader):
    """SafeLoader for numbers, words, lists and mappings: 1e-3 is a number, as people expect, a day of the calendar is
    text, as nothing here is one; refused are tags such as !!binary, and aliases, which can blow up."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        first: [(tag, pattern) for tag, pattern in known if not tag.endswith(":timestamp")]
        for first, known in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    yaml_constructors = {  # noqa: RUF012
        tag: construct
        for tag, construct in yaml.SafeLoader.yaml_constructors.items()
        if tag is None or tag.rpartition(":")[2] in ("null", "bool", "int", "float", "str", "seq", "map")
    }

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not taken; write the value out")
        return super().compose_node(parent, index)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?$|^[-+]?\.(?:inf|nan)$"),
    list("-+.0123456789"),
)


def parsed_yaml(text: str) -> Any:
    """The value that `text` stands for; raises one of `WRONG`."""
    return yaml.load(text, _Loader)  # a SafeLoader, which takes less than that: no object is made of a tag


def read_yaml(path: Path, what: str) -> Any:
    """What the YAML file of a `what`, such as a recipe, holds; raises `InputError` naming the file."""
    try:
        with path.open("rb") as file:
            raw = file.read(MOST_BYTES + 1)
    except OSError as error:
        where = "" if path.is_absolute() else f" below {Path.cwd()}, where the command was started"
        raise InputError(f"{path}: the {what} cannot be read ({error.strerror}{where}); check the path") from error
    check(len(raw) <= MOST_BYTES, f"{path}: longer than {MOST_BYTES // 1024} KiB, which is too long for a {what}")
    try:
        return parsed_yaml(raw.decode("utf-8-sig"))
    except WRONG as error:
        raise InputError(f"{path}: not a YAML {what} ({one_line(error)})") from error
