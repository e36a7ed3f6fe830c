"""The classes of a segmentation task: their names, their colors and the value that means "not labelled"."""

from __future__ import annotations

import colorsys
import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from densefield.checks import InputError, check, likely
from densefield.yaml_files import read_yaml

Color = tuple[int, int, int]

_TODAY = {"colour": "color", "ignore_colours": "ignore_colors"}
IGNORED_COLOR: Color = (224, 224, 192)  # the cream that Pascal VOC draws around its objects


@dataclasses.dataclass(frozen=True)
class ClassList:
    """Names and RGB colors of classes 0 … K-1, in order of their index.

    `values` are what masks hold for them in files, in 0 … 255: by default the indices. `ignore_index` is the value that
    means "not labelled", in 0 … 255 and none of the classes'. A list only promises that masks hold this value when
    `ignore_declared` is True: otherwise it counts as a wrong label. `ignore_colors` are the colors that mean the same
    in color masks.
    """

    names: tuple[str, ...]
    colors: tuple[Color, ...]
    ignore_index: int = 255
    ignore_declared: bool = False
    ignore_colors: tuple[Color, ...] = ()
    values: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        names, colors = tuple(self.names), tuple(_color(color, "colors") for color in self.colors)
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "colors", colors)
        object.__setattr__(self, "ignore_colors", tuple(_color(c, "ignore_colors") for c in self.ignore_colors))
        check(1 <= len(names) <= 255, f"names: wanted 1 to 255 classes, received {len(names)}")
        check(len(colors) == len(names), f"colors: wanted one for each of {len(names)} names, received {len(colors)}")
        check(all(isinstance(name, str) and name for name in names), "names: wanted non-empty text for every class")
        twice = _first_repeated(names)
        check(twice is None, f"names: {twice!r} stands there twice; give each class its own name")
        same = _first_repeated(colors + self.ignore_colors)
        check(same is None, f"colors: {same} stands there twice; give each class its own color")
        values = tuple(self.values) or tuple(range(len(names)))
        object.__setattr__(self, "values", values)
        right = len(values) == len(names) and all(_is_label(value) for value in values)
        check(right, f"values: wanted a whole number from 0 to 255 for each of {len(names)} names, received {values}")
        taken = _first_repeated(values)
        check(taken is None, f"values: {taken} stands there twice; give each class its own")
        if not self.ignore_declared and self.ignore_index in values:
            object.__setattr__(self, "ignore_index", _free_value(values))
        check(_is_label(self.ignore_index), f"ignore_index: wanted 0 to 255, received {self.ignore_index}")
        owner = names[values.index(self.ignore_index)] if self.ignore_index in values else ""
        check(
            not owner,
            f"ignore_index: {self.ignore_index} is the value of {owner!r}; wanted one that no class has, or name what"
            f" masks hold for the class, such as {{name: {owner}, value: 1}}",
        )

    def __len__(self) -> int:
        return len(self.names)

    def palette(self) -> npt.NDArray[np.uint8]:
        """The color of each class index, (256, 3) uint8: black for what is no class, cream for what is ignored."""
        palette = np.zeros((256, 3), np.uint8)
        palette[[self.ignore_index, 255]] = self.ignore_colors[0] if self.ignore_colors else IGNORED_COLOR
        palette[: len(self)] = self.colors
        return palette

    def file_values(self) -> npt.NDArray[np.uint8]:
        """What files hold for each label, (256,) uint8: the classes' `values`, and their own for what is no class."""
        table = np.arange(256, dtype=np.uint8)
        if 255 in self.values:  # what is ignored, 255 among indices
            table[255] = self.ignore_index
        table[: len(self)] = self.values
        return table

    def foreign(self, labels: npt.NDArray[np.integer]) -> list[int]:
        """The values in `labels` (of a file) that are neither a class's nor declared as ignored, in rising order."""
        known = np.zeros(256, bool)
        known[list(self.values)] = True
        known[self.ignore_index] |= self.ignore_declared
        wrong = (labels < 0) | (labels > 255) | ~known[labels.clip(0, 255)]
        return [int(value) for value in np.unique(labels[wrong])]

    def indices(self, labels: npt.NDArray[np.integer]) -> npt.NDArray[np.uint8]:
        """The class index of each value in `labels` (of a file, 0 … 255); 255 for what is no class's."""
        table = np.full(256, 255, np.uint8)
        table[list(self.values)] = np.arange(len(self), dtype=np.uint8)
        found: npt.NDArray[np.uint8] = table[labels]
        return found

    def to_dict(self) -> dict[str, Any]:
        """A plain dictionary of lists, numbers and text, for YAML or JSON; `from_dict` reads it."""
        entries = zip(self.names, self.colors, strict=True)
        plain: dict[str, Any] = {
            "classes": [{"index": i, "name": name, "color": list(color)} for i, (name, color) in enumerate(entries)]
        }
        for entry, value in zip(plain["classes"], self.values, strict=True):
            if value != entry["index"]:
                entry["value"] = value
        if self.ignore_declared or self.ignore_index != _free_value(self.values):
            plain["ignore_index"] = self.ignore_index
        if self.ignore_colors:
            plain["ignore_colors"] = [list(color) for color in self.ignore_colors]
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any] | Sequence[Any]) -> ClassList:
        """A class list from `{"classes": [{name, color, index}, ...], "ignore_index": 255}` or from the bare list.

        `color` ([r, g, b] or "#rrggbb") and `index` may be left out: they then follow from the place in the list.
        `value` is what masks hold for the class, where that is not its index. `colour`, as in older files, is read.
        """
        plain = _spelled_today(plain if isinstance(plain, Mapping) else {"classes": plain})
        _known_keys(plain, ("classes", "ignore_index", "ignore_colors"), "class list")
        entries = plain.get("classes")
        right = isinstance(entries, Sequence) and not isinstance(entries, str) and 1 <= len(entries) <= 255
        check(right, "classes: wanted a list of 1 to 255 entries like {name: road, color: [128, 64, 128], index: 0}")
        assert isinstance(entries, Sequence)
        names: list[str | None] = [None] * len(entries)
        colors: list[Color] = list(default_colors(len(entries)))
        values = list(range(len(entries)))
        for place, entry in enumerate(entries):
            entry = {"name": entry} if isinstance(entry, str) else entry
            where = f"classes[{place}]"
            check(isinstance(entry, Mapping), f"{where}: wanted {{name: ..., color: ..., index: ..., value: ...}}")
            entry = _spelled_today(entry)
            _known_keys(entry, ("name", "color", "index", "value"), where)
            name, index = entry.get("name"), entry.get("index", place)
            check(isinstance(name, str) and bool(name), f"{where}.name: wanted text")
            whole = isinstance(index, int) and not isinstance(index, bool)
            check(
                whole and 0 <= index < len(entries),
                f"{where}.index: wanted a whole number from 0 to {len(entries) - 1}, every one once"
                " (what masks hold for it is its value; what is not a class is named by ignore_index)",
            )
            check(names[index] is None, f"{where}.index: {index} is taken by {names[index]!r}; give each class its own")
            names[index] = name
            if entry.get("color") is not None:
                colors[index] = _color(entry["color"], f"{where}.color")
            if entry.get("value") is not None:
                check(_is_label(entry["value"]), f"{where}.value: wanted a whole number from 0 to 255")
                values[index] = entry["value"]
        ignored = plain.get("ignore_index")
        whole = ignored is None or (isinstance(ignored, int) and not isinstance(ignored, bool))
        check(whole, "ignore_index: wanted a whole number such as 255")
        masked = plain.get("ignore_colors") or ()
        check(isinstance(masked, Sequence) and not isinstance(masked, str), "ignore_colors: wanted a list of colors")
        return cls(
            names=tuple(str(name) for name in names),
            colors=tuple(colors),
            ignore_index=_free_value(values) if ignored is None else ignored,
            ignore_declared=ignored is not None or bool(masked),
            ignore_colors=tuple(_color(color, "ignore_colors") for color in masked),
            values=tuple(values),
        )

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> ClassList:
        """Read a YAML class list (see `from_dict`); raises `InputError` naming the file and what is wrong in it."""
        path = Path(path)
        plain = read_yaml(path, "class list")
        check(isinstance(plain, (dict, list)), f"{path}: wanted a list of classes, each with name, color and index")
        try:
            return cls.from_dict(plain)
        except InputError as error:
            raise InputError(f"{path}: {error}") from error


def default_colors(n: int) -> tuple[Color, ...]:
    """`n` distinct RGB colors, the same for every call: hues a golden angle apart, in four strengths in turn."""
    check(0 <= n <= 255, f"n: wanted 0 to 255 colors, received {n}")
    strengths = ((0.72, 0.93), (0.85, 0.66), (0.42, 0.97), (0.95, 0.45))
    colors: list[Color] = []
    step = 0
    while len(colors) < n:
        saturation, value = strengths[(step // 7) % 4]
        red, green, blue = colorsys.hsv_to_rgb((0.58 + step * 0.61803398875) % 1.0, saturation, value)
        color = (round(255 * red), round(255 * green), round(255 * blue))
        if color not in colors:
            colors.append(color)
        step += 1
    return tuple(colors)


def _color(color: Any, where: str) -> Color:
    """(r, g, b) from three numbers or "#rrggbb"."""
    if isinstance(color, str) and len(color) == 7 and color[0] == "#":
        try:
            color = tuple(bytes.fromhex(color[1:]))
        except ValueError:
            color = ()
    right = isinstance(color, Sequence) and not isinstance(color, str) and len(color) == 3
    right = right and all(isinstance(part, int) and 0 <= part <= 255 for part in color)
    check(right, f'{where}: wanted three numbers from 0 to 255 such as [128, 64, 128], or "#804080"')
    return (int(color[0]), int(color[1]), int(color[2]))


def _is_label(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 255


def _free_value(values: Sequence[int]) -> int:
    """The greatest label value that is no class's: 255, unless a class has it."""
    return max(set(range(256)) - set(values))


def _spelled_today(plain: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """`plain` with the keys that older files spell otherwise, unless it has them in both ways."""
    return {_TODAY[key] if key in _TODAY and _TODAY[key] not in plain else key: plain[key] for key in plain}


def _known_keys(plain: Mapping[Any, Any], known: tuple[str, ...], where: str) -> None:
    """Raise when `plain` has a key that nobody would read: mostly a slip of the pen."""
    for key in plain:
        name = str(key)[:40]
        check(key in known, f"{where}: unknown key {name!r}{likely(name, known)} Wanted only: {', '.join(known)}")


def _first_repeated(values: Sequence[Any]) -> Any:
    """The first value that stands in `values` for the second time, or None."""
    seen = set()
    for value in values:
        if value in seen:
            return value
        seen.add(value)
    return None
