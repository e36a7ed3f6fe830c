"""Label Studio's export "JSON": a list of tasks; brushes as runs, polygons, rectangles and ellipses in percent.

Format: https://labelstud.io/guide/export; an image is known by its name alone, as tasks hold an address on the server.
"""

from __future__ import annotations

import functools
import re
import urllib.parse
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from densefield.checks import InputError, check
from densefield.data.imports.found import Asked, Found, Item, Size, classes_of, ground, index_of, name_of
from densefield.data.imports.json_files import json_in, member, numbers, read_json
from densefield.data.imports.run_lengths import brush_mask
from densefield.data.imports.shapes import Drawn, Pixels, ellipse, painted, polygon
from densefield.images.listing import list_pictures, picture_endings

_KINDS = ("brushlabels", "polygonlabels", "rectanglelabels", "ellipselabels")
_UPLOAD = re.compile(r"[0-9a-f]{8}-")  # what the server puts before the name of a file that is uploaded


class _Region(NamedTuple):
    where: str
    label: str
    size: Size
    drawn: Drawn


def label_studio(source: Path, asked: Asked) -> Found:
    """Every task that has an annotation: its ground truth, where one is marked so, else its first."""
    path = json_in(source)
    tasks = read_json(path)
    check(isinstance(tasks, list), f"{path}: wanted a list of tasks; export from Label Studio as JSON")
    folder = asked.images or path.parent
    listing = list_pictures(folder, deep=True)
    known: dict[str, list[Path]] = {}
    for picture in listing.pictures:
        known.setdefault(picture.path.name, []).append(picture.path)
    left_out: Counter[str] = Counter()
    read = []
    for number, task in enumerate(tasks):
        where = f"{path}: [{number}]"
        annotation = _annotation(task, where, left_out)
        if annotation is not None:
            read.append((where, _image(task, known, folder, where), _regions(annotation, where, left_out)))
    classes = classes_of(sorted({region.label for _, _, regions in read for region in regions}), asked)
    items = []
    for where, image, regions in read:
        shapes = [(index_of(region.label, classes, region.where), region.drawn) for region in regions]
        size = regions[0].size if regions else None
        items.append(Item(name_of(image, folder), image, painted(shapes, ground(classes), left_out), where, size))
    return Found(classes, items, left_out)


def _annotation(task: Any, where: str, left_out: Counter[str]) -> Any:
    done = [one for one in member(task, "annotations", list, where) if not (isinstance(one, dict) and _skipped(one))]
    left_out["task without an annotation"] += not done
    left_out["further annotation of a task"] += max(0, len(done) - 1)
    marked = [one for one in done if isinstance(one, dict) and one.get("ground_truth") is True]
    return next(iter([*marked, *done]), None)


def _skipped(annotation: Mapping[str, Any]) -> bool:
    return annotation.get("was_cancelled") is True


def _image(task: Any, known: Mapping[str, Sequence[Path]], folder: Path, where: str) -> Path:
    """The file that the task's address names: by as many of its folders as it takes to tell files of one name apart."""
    data = member(task, "data", dict, where)
    paths = {key: _path_of(value) for key, value in data.items() if isinstance(value, str)}
    images = {key: path for key, path in paths.items() if path.suffix.lower() in picture_endings()}
    check(bool(images), f"{where}: data names no image")
    key = "image" if "image" in images else next(iter(images))
    check(len(images) == 1 or key == "image", f"{where}: data names several images: {', '.join(images)}")
    path = images[key]
    files = known.get(path.name) or known.get(_UPLOAD.sub("", path.name, count=1), [])
    check(bool(files), f"{where}: no image {path.name} in {folder}; put it there, or name its folder with --images")
    for length in range(1, len(path.parts) + 1):
        if len(files) > 1:
            files = [file for file in files if file.parts[-length:] == path.parts[-length:]]
    check(len(files) == 1, f"{where}: there are several {path.name} in {folder}, and data.{key} does not tell which")
    return files[0]


def _path_of(address: str) -> PurePosixPath:
    """The path in "/data/upload/1/a.jpg", "/data/local-files/?d=photos/a.jpg", "s3://bucket/a.jpg", "https://…"."""
    try:
        parts = urllib.parse.urlsplit(address)
    except ValueError:
        return PurePosixPath(address)
    local = urllib.parse.parse_qs(parts.query).get("d")
    return PurePosixPath((local[0] if local else urllib.parse.unquote(parts.path)).replace("\\", "/"))


def _regions(annotation: Any, where: str, left_out: Counter[str]) -> list[_Region]:
    regions: list[_Region] = []
    for number, result in enumerate(member(annotation, "result", list, where)):
        at = f"{where}: result[{number}]"
        kind = member(result, "type", str, at)
        if kind not in _KINDS:
            left_out[f"result of type {kind}"] += 1
            continue
        value = member(result, "value", dict, at)
        labels = value.get(kind) or []
        if not labels:
            left_out["region without a label"] += 1
            continue
        check(isinstance(labels, list) and len(labels) == 1, f"{at}: {kind}: wanted one label, received {labels!r:.60}")
        label = member({kind: labels[0]}, kind, str, at)
        turned = result.get("image_rotation") or 0
        check(turned == 0, f"{at}: was drawn on the image turned by {turned!r:.20}°; turn it back in Label Studio")
        size = (member(result, "original_height", int, at), member(result, "original_width", int, at))
        check(min(size) > 0, f"{at}: original_width and original_height: wanted positive numbers, received {size}")
        check(not regions or size == regions[0].size, f"{at}: is of another size than the regions before it")
        regions.append(_Region(at, label, size, _drawn(kind, value, size, f"{at} ({label!r})")))
    return regions


def _drawn(kind: str, value: dict[str, Any], size: Size, where: str) -> Drawn:
    pixels = np.array([size[1], size[0]]) / 100
    if kind == "brushlabels":
        return functools.partial(_brushed, member(value, "rle", list, where), where)
    if kind == "polygonlabels":
        return polygon(numbers(member(value, "points", list, where), (-1, 2), where) * pixels, where)
    keys = ("x", "y", "width", "height") if kind == "rectanglelabels" else ("x", "y", "radiusX", "radiusY")
    place = numbers([value.get(key) for key in keys], (4,), f"{where}: {', '.join(keys)}").reshape(2, 2) * pixels
    turned = float(numbers([value.get("rotation", 0)], (1,), f"{where}: rotation")[0])
    if kind == "ellipselabels":
        return ellipse(place[0], place[1], turned, where)
    cosine, sine = np.cos(np.deg2rad(turned)), np.sin(np.deg2rad(turned))
    corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * place[1]
    return polygon(place[0] + corners @ np.array([[cosine, sine], [-sine, cosine]]), where)  # about its first corner


def _brushed(runs: list[Any], where: str, size: Size) -> Pixels:
    try:
        rows, columns = np.nonzero(brush_mask(runs, size))
    except InputError as error:
        raise InputError(f"{where}: rle: {error}") from error
    return rows, columns
