"""Roboflow's "Semantic Segmentation Masks": NAME.jpg and NAME_mask.png side by side, _classes.csv names their values.

An export has a folder for each of train, valid and test; they stay apart in the images' names.
"""

from __future__ import annotations

import functools
from collections import Counter
from pathlib import Path

from densefield.checks import InputError, check, shown
from densefield.classes import ClassList, default_colors
from densefield.data.imports.found import Asked, Found, Item, folder_of, name_of, read_lines, read_mask
from densefield.data.pairs import find_pairs

_CLASSES = "_classes.csv"


def roboflow(source: Path, asked: Asked) -> Found:
    """Every image with a mask, in the folder itself or in those below that hold a `_classes.csv`."""
    lists = sorted(folder_of(source, f"{_CLASSES}, or train, valid and test").rglob(_CLASSES))
    check(bool(lists), f"{source}: holds no {_CLASSES}; wanted an export as Semantic Segmentation Masks, unpacked")
    classes = _classes(lists[0])
    left_out: Counter[str] = Counter()
    items = []
    for listed in lists:
        differ = f"{listed}: names other classes than {lists[0]}; import the folders one by one"
        check(_classes(listed) == classes, differ)
        pairs = find_pairs(listed.parent, listed.parent, suffix="_mask")
        for mask in pairs.without_image:
            raise InputError(f"{mask}: has no image of its name; put it there")
        left_out["image without a mask"] += len(pairs.without_mask)
        for name in pairs.names:
            image, labels = pairs.images[name].path, functools.partial(read_mask, pairs.masks[name], classes)
            items.append(Item(name_of(image, source), image, labels, str(pairs.masks[name])))
    return Found(classes, items, left_out)


def _classes(path: Path) -> ClassList:
    """The rows "1, cat" behind the head "Pixel Value, Class"."""
    names: list[str] = []
    values: list[int] = []
    for number, line in enumerate(read_lines(path)[1:], 2):
        value, comma, name = (part.strip() for part in line.partition(","))
        right = value.isdecimal() and len(value) <= 3 and bool(comma and name)
        check(right, f"{path}: line {number}: wanted a pixel value and a class such as 1, cat, received {shown(line)}")
        names.append(name.strip('"'))
        values.append(int(value))
    colors = default_colors(min(len(names), 255))
    chosen = tuple((0, 0, 0) if name == "background" else color for name, color in zip(names, colors, strict=False))
    try:
        return ClassList(tuple(names), chosen, ignore_declared=255 not in values, values=tuple(values))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
