"""Recipes as files and by name: YAML in and out, flags laid over them, errors that name the key that was meant."""

from __future__ import annotations

import importlib
import json
import re
import typing
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from densefield.checks import InputError, check
from densefield.explained import explained, likely
from densefield.files import atomic_write
from densefield.recipes import kinds
from densefield.recipes.older import leave_out_unread, of_older_run
from densefield.recipes.recipe import Recipe, Stage
from densefield.recipes.short import expanded

_LARGEST = 256 * 1024  # bytes of YAML; a recipe takes two thousand
_HOMES = {
    "sample_demo": "samples",
    "sample_demo_quick": "samples",
    "sample_fc_densenet56": "samples",
    "camvid_fc_densenet56": "camvid_fc_densenet",
    "camvid_fc_densenet67": "camvid_fc_densenet",
    "camvid_fc_densenet103": "camvid_fc_densenet",
    "camvid_classic_upsampling": "camvid_fc_densenet",
    "camvid_fc_densenet56_cpu": "camvid_fc_densenet",
    "camvid_deeplab_cpu": "camvid_deeplab",
    "camvid_deeplab_crf_cpu": "camvid_deeplab",
    "camvid_deeplab_embeddings_cpu": "camvid_deeplab",
    "sample_deeplab_crf": "sample_deeplab",
    "sample_deeplab_embeddings": "sample_deeplab",
    "em_unet": "em_unet",
}


def recipe_names() -> tuple[str, ...]:
    """The names of the built-in recipes."""
    return tuple(_HOMES)


def find_recipe(name_or_path: str, overrides: Sequence[str] = (), say: Callable[[str], object] | None = None) -> Recipe:
    """A built-in recipe by name, or one from a YAML file, with flags such as `--stages.0.epochs 5` laid over it.

    `say` is given the line on what an older version wrote into its run and nothing read, which is left out. Raises
    `InputError` naming the recipe, the key and the likely meant key.
    """
    if name_or_path in _HOMES:
        module = importlib.import_module(f"densefield.recipes.{_HOMES[name_or_path]}")
        recipe: Recipe = getattr(module, name_or_path)
        if not overrides:
            return recipe
        plain = recipe.model_dump(mode="json", exclude_unset=True)
    else:
        path = Path(name_or_path)
        if path.suffix not in (".yaml", ".yml"):
            hint, known = likely(name_or_path, list(_HOMES)), ", ".join(_HOMES)
            raise InputError(f"recipe {name_or_path!r} is not known{hint} Built in are: {known}; or give a .yaml file")
        plain = _written_out(_read(path, say), name_or_path)
    for key, value in _flags(overrides):
        _lay(plain, key, value, name_or_path)
        plain = _written_out(plain, f"--{key}", laid_over=True)
    return validated(plain, name_or_path)


def _written_out(plain: dict[str, Any], source: str, *, laid_over: bool = False) -> dict[str, Any]:
    try:
        return expanded(plain, laid_over=laid_over)
    except InputError as error:
        raise InputError(f"{source}: {error}") from error


def read_recipe(path: Path) -> Recipe:
    """The recipe of a YAML file; raises `InputError` naming file and key."""
    return validated(_read(path), str(path))


def _read(path: Path, say: Callable[[str], object] | None = None) -> dict[str, Any]:
    plain = read_plain(path)
    unread = leave_out_unread(plain) if of_older_run(path) else []
    if unread and say is not None:
        say(f"{path}: an older version wrote keys that nothing read; left out: {', '.join(unread)}")
    return plain


def write_recipe(recipe: Recipe, path: Path) -> None:
    """Write `recipe` as YAML, whole or not at all."""
    text = yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
    with atomic_write(path) as file:
        file.write(text.encode())


def read_plain(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file, safely: no tags, no aliases, no more than 256 KiB."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: the recipe cannot be read ({error.strerror}); check the path") from error
    check(len(raw) <= _LARGEST, f"{path}: {len(raw)} bytes are too many for a recipe (at most {_LARGEST})")
    try:
        plain = yaml.load(raw.decode("utf-8"), _Loader)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise InputError(f"{path}: not readable as YAML ({' '.join(str(error).split())})") from error
    check(isinstance(plain, dict), f"{path}: wanted a mapping of a recipe's keys, received {type(plain).__name__}")
    return typing.cast("dict[str, Any]", plain)


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
        raise InputError(f"{source}: {' '.join(str(error).split())}") from error


class _Loader(yaml.SafeLoader):
    """SafeLoader that reads 1e-3 as a number, as people expect, and refuses aliases, which can blow up."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not taken in recipes; write the value out")
        return super().compose_node(parent, index)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?$|^[-+]?\.(?:inf|nan)$"),
    list("-+.0123456789"),
)


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
        return yaml.load(text, _Loader)
    except (
        yaml.YAMLError,
        RecursionError,
        ValueError,
    ):  # no YAML, no day of the calendar, more digits than a number has
        return text


def _lay(plain: dict[str, Any], key: str, value: Any, source: str) -> None:
    """Set the dotted `key`; another `kind` of a part starts it afresh where its keys differ."""
    *path, last = key.split(".")
    place: Any = plain
    for step in path:
        if isinstance(place, list):
            right = step.isdigit() and int(step) < len(place)
            check(right, f"--{key}: {source} has {len(place)} entries there, 0 to {len(place) - 1}; received {step!r}")
            place = place[int(step)]
        else:
            check(isinstance(place, dict), f"--{key}: there is nothing below {step!r} in {source}")
            if place.get(step) is None:
                place[step] = {}
            place = place[step]
            check(isinstance(place, dict | list), f"--{key}: {step!r} is a single value in {source}")
    if isinstance(place, list):
        check(
            last.isdigit() and int(last) < len(place), f"--{key}: wanted an index below {len(place)}, received {last!r}"
        )
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
