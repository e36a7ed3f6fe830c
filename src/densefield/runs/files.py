"""Recipes as files: YAML in and out, and errors that name the key that was meant."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from densefield.built.explained import explained
from densefield.checks import InputError, check, one_line
from densefield.files import atomic_write
from densefield.runs.older import leave_out_unread, of_older_run
from densefield.runs.recipe import Recipe, Stage
from densefield.runs.short import expanded
from densefield.yaml_files import read_yaml


def read_recipe(path: Path) -> Recipe:
    """The recipe of a YAML file; raises `InputError` naming file and key."""
    return validated(read_plain(path), str(path))


def read_plain(path: Path, say: Callable[[str], object] | None = None) -> dict[str, Any]:
    """The mapping in a recipe's file; `say` is given the line on what an older version wrote and nothing read."""
    plain = read_yaml(path, "recipe")
    check(isinstance(plain, dict), f"{path}: wanted a mapping of a recipe's keys, received {type(plain).__name__}")
    unread = leave_out_unread(plain) if of_older_run(path) else []
    if unread and say is not None:
        say(f"{path}: an older version wrote keys that nothing read; left out: {', '.join(unread)}")
    return plain


def write_recipe(recipe: Recipe, path: Path) -> None:
    """Write `recipe` as YAML, whole or not at all."""
    text = yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    with atomic_write(path) as file:
        file.write(text.encode())


def validated(plain: dict[str, Any], source: str) -> Recipe:
    """`plain` as a recipe; the first error becomes one line."""
    for key in plain.keys() & Stage.model_fields.keys():
        wanted = f"Wanted one of: {', '.join(Recipe.model_fields)}"
        raise InputError(f"{source}: unknown key {key!r}: it belongs to a stage, stages: [{{{key}: ...}}]. {wanted}")
    try:
        return Recipe.model_validate_json(json.dumps(expanded(plain)))
    except ValidationError as error:
        raise InputError(f"{source}: {explained(error, Recipe)}") from error
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"{source}: {one_line(error)}") from error
