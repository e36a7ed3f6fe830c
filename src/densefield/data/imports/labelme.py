"""labelme: one JSON file an image (https://github.com/wkentaro/labelme), shapes in pixels, later ones on top.

The labels are those of labels.txt, where there is one (`__ignore__` is what is not labelled), else all that occur, in
order of name.
"""

from __future__ import annotations

import base64
import io
import os
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from densefield.checks import InputError, check
from densefield.data.imports.found import (
    Asked,
    Embedded,
    Found,
    Item,
    Size,
    below,
    classes_of,
    folder_of,
    ground,
    index_of,
    name_of,
    read_lines,
)
from densefield.data.imports.json_files import member, numbers, read_json
from densefield.data.imports.shapes import Drawn, Pixels, check_inside, ellipse, painted, polygon
from densefield.data.sample import IGNORED
from densefield.images import read_labels
from densefield.images.listing import list_pictures, picture_endings

_IGNORE = "__ignore__"
_NO_AREA = ("line", "linestrip", "point", "points")


class _Shape(NamedTuple):
    where: str
    label: str
    drawn: Drawn


class _File(NamedTuple):
    path: Path
    image: Path | Embedded
    name: str
    size: Size
    shapes: list[_Shape]


def labelme(source: Path, asked: Asked) -> Found:
    """Every JSON file in the folder and below, with the image it names; images without one are left out."""
    paths = sorted(
        path for path in folder_of(source, "labelme's .json files").rglob("*.json") if not path.name.startswith(".")
    )
    check(bool(paths), f"{source}: holds no .json file; wanted the folder that labelme saves into")
    left_out: Counter[str] = Counter()
    files = [_read(path, source, left_out) for path in paths]
    listed = source / "labels.txt"
    occurring = sorted({shape.label for file in files for shape in file.shapes})
    names = read_lines(listed) if listed.exists() else occurring
    classes = classes_of((name for name in names if name != _IGNORE), asked)
    items = []
    for file in files:
        shapes = [
            (IGNORED if shape.label == _IGNORE else index_of(shape.label, classes, shape.where), shape.drawn)
            for shape in file.shapes
        ]
        drawing = painted(shapes, ground(classes), left_out)
        items.append(Item(file.name, file.image, drawing, str(file.path), file.size))
    left_out["image without a JSON file"] += _unlabelled(source, {file.image for file in files})
    return Found(classes, items, left_out)


def _read(path: Path, source: Path, left_out: Counter[str]) -> _File:
    """One file. Where the image that it names is missing, the one that labelme may have put inside is taken."""
    plain = read_json(path)
    where = str(path)
    listed = member(plain, "shapes", list, where)
    image: Path | Embedded = below(source, path.parent, member(plain, "imagePath", str, where), f"{where}: imagePath")
    assert isinstance(image, Path)
    name = name_of(image, source)
    if not os.path.exists(image):
        check(plain.get("imageData") is not None, f"{where}: imagePath: no such file as {image}, and no imageData")
        data = _decoded(member(plain, "imageData", str, where), f"{where}: imageData")
        image = Embedded(data, image.suffix if image.suffix.lower() in picture_endings() else ".png")
    size = (member(plain, "imageHeight", int, where), member(plain, "imageWidth", int, where))
    shapes = []
    for number, shape in enumerate(listed):
        at = f"{where}: shapes[{number}]"
        label = member(shape, "label", str, at)
        kind = member(shape, "shape_type", str, at) if "shape_type" in shape else "polygon"  # before version 3
        if kind in _NO_AREA:
            left_out[f"{kind.removesuffix('s')} shape, which has no area"] += 1
        else:
            shapes.append(_Shape(at, label, _drawn(kind, shape, f"{at} ({label!r})")))
    return _File(path, image, name, size, shapes)


def _drawn(kind: str, shape: dict[str, Any], where: str) -> Drawn:
    points = numbers(member(shape, "points", list, where), (-1, 2), f"{where}: points")
    two = kind in ("circle", "mask") or (kind == "rectangle" and len(points) != 4)
    check(not two or len(points) == 2, f"{where}: points: wanted 2 of a {kind}, received {len(points)}")
    if kind == "rectangle" and len(points) == 2:
        (left, top), (right, bottom) = points
        points = np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
    elif kind == "circle":
        radius = float(np.hypot(*(points[1] - points[0])))
        return ellipse(points[0], np.array([radius, radius]), 0.0, where)
    elif kind == "mask":
        return _stamped(points[0], _decoded(member(shape, "mask", str, where), f"{where}: mask"), where)
    wanted = ("polygon", "rectangle", "oriented_rectangle")
    check(kind in wanted, f"{where}: shape_type {kind!r} is not known; wanted polygon, rectangle, circle or mask")
    return polygon(points, where)


def _stamped(corner: np.ndarray, data: bytes, where: str) -> Drawn:
    """The pixels of a small picture that are not 0, with its upper left one at `corner`."""
    try:
        stamp = read_labels(io.BytesIO(data))
    except InputError as error:
        raise InputError(f"{where}: mask: {error}") from error
    rows, columns = np.nonzero(stamp)

    def drawn(size: tuple[int, int]) -> Pixels:
        check_inside(np.array([corner, corner + stamp.shape[::-1]]), size, where)
        left, top = np.rint(corner).astype(np.intp)
        inside = (rows + top >= 0) & (rows + top < size[0]) & (columns + left >= 0) & (columns + left < size[1])
        return rows[inside] + top, columns[inside] + left

    return drawn


def _decoded(text: str, where: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as error:
        raise InputError(f"{where}: not base64 ({error})") from error


def _unlabelled(source: Path, used: set[Path | Embedded]) -> int:
    return sum(picture.path.absolute() not in used for picture in list_pictures(source, deep=True).pictures)
