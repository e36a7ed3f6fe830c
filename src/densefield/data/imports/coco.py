"""COCO's instances (https://cocodataset.org/#format-data): polygons, runs, and runs of crowds, as class labels.

The classes are the background and the categories in order of their id, as COCO's own leave gaps.
"""

from __future__ import annotations

import functools
import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from densefield.checks import InputError, check, counted, shown
from densefield.data.imports.found import Asked, Found, Item, Labels, Size, below, classes_of, ground, index_of, name_of
from densefield.data.imports.json_files import json_in, member, numbers, read_json
from densefield.data.imports.run_lengths import coco_counts, coco_mask
from densefield.data.imports.shapes import Drawn, Pixels, painted, polygon
from densefield.data.sample import IGNORED
from densefield.data.voc import FILE_CLASSES

# VOC's classes from 1 on as COCO numbers and names them.
_AS_VOC = {
    5: "airplane", 2: "bicycle", 16: "bird", 9: "boat", 44: "bottle", 6: "bus", 3: "car", 17: "cat", 62: "chair",
    21: "cow", 67: "dining table", 18: "dog", 19: "horse", 4: "motorcycle", 1: "person", 64: "potted plant",
    20: "sheep", 63: "couch", 7: "train", 72: "tv",
}  # fmt: skip


def coco(source: Path, asked: Asked) -> Found:
    """Every image of one JSON file; what is crowded counts as its class.

    With `asked.as_voc` the classes are PASCAL VOC's, other categories are left out, and what two objects share is not
    labelled, as the models that torchvision releases were trained.
    """
    path = json_in(source)
    plain = read_json(path)
    left_out: Counter[str] = Counter()
    categories = _categories(plain, str(path))
    check(not asked.as_voc or asked.classes is None, "--as-voc: names the classes itself; leave out --classes")
    if asked.as_voc:
        classes, indices = FILE_CLASSES, _voc_indices(categories, str(path))
    else:
        classes = classes_of(categories.values(), asked)
        indices = {number: index_of(name, classes, f"{path}: categories") for number, name in categories.items()}
    shapes: dict[int, list[tuple[int, Drawn]]] = {}
    images = {}
    for place, image in enumerate(member(plain, "images", list, str(path))):
        number = member(image, "id", int, f"{path}: images[{place}]")
        check(number not in images, f"{path}: images[{place}]: the id {number} stands there twice")
        images[number], shapes[number] = image, []
    for place, annotation in enumerate(member(plain, "annotations", list, str(path))):
        where = f"{path}: annotations[{place}]"
        number, category = (member(annotation, key, int, where) for key in ("image_id", "category_id"))
        check(number in images, f"{where}: there is no image {number}")
        check(category in categories, f"{where}: there is no category {category}")
        if category not in indices:
            left_out["annotation of a category that VOC does not have"] += 1
        elif not annotation.get("segmentation"):
            left_out["annotation without a segmentation"] += 1
        else:
            shapes[number].append((indices[category], functools.partial(_drawn, annotation["segmentation"], where)))
    folder = _folder(path, images, asked)
    items = []
    for place, (number, image) in enumerate(images.items()):
        where = f"{path}: images[{place}]"
        size = (member(image, "height", int, where), member(image, "width", int, where))
        file = below(folder, folder, member(image, "file_name", str, where), f"{where}: file_name")
        drawing = _apart(shapes[number]) if asked.as_voc else painted(shapes[number], ground(classes), left_out)
        items.append(Item(name_of(file, folder), file, drawing, where, size))
    return Found(classes, items, left_out)


def _categories(plain: Any, path: str) -> dict[int, str]:
    """The names by id, in order of id."""
    found: dict[int, str] = {}
    for place, category in enumerate(member(plain, "categories", list, path)):
        where = f"{path}: categories[{place}]"
        number = member(category, "id", int, where)
        check(number not in found, f"{where}: the id {number} stands there twice")
        found[number] = member(category, "name", str, where)
    return dict(sorted(found.items()))


def _voc_indices(categories: dict[int, str], path: str) -> dict[int, int]:
    for number, name in _AS_VOC.items():
        received = categories.get(number, name)
        check(received == name, f"{path}: --as-voc: category {number} is {received!r}, wanted COCO's own: {name!r}")
    return {number: index for index, number in enumerate(_AS_VOC, 1)}


def _folder(path: Path, images: dict[int, Any], asked: Asked) -> Path:
    """Where the images lie: as asked for, beside the file as tools export them, or as COCO unpacks."""
    split = path.stem.removeprefix("instances_")
    places = [path.parent, path.parent / "images", path.parent.parent / split, path.parent.parent / "images" / split]
    if asked.images is not None:
        places = [asked.images]
    for image in images.values():
        name = member(image, "file_name", str, f"{path}: images")
        for place in places:
            if os.path.isfile(below(place, place, name, f"{path}: file_name")):
                return place
        raise InputError(f"{path}: no image {shown(name)} in {places[0]}; name the folder of the images with --images")
    raise InputError(f"{path}: holds {counted(0, 'image')}")


def _drawn(segmentation: Any, where: str, size: Size) -> Pixels:
    """The pixels of one annotation: several polygons are parts of it, an object with `counts` is a mask in runs."""
    if isinstance(segmentation, list):
        where = f"{where}: segmentation"
        parts = [polygon(numbers(part, (-1, 2), where), where)(size) for part in segmentation]
        return np.concatenate([rows for rows, _ in parts]), np.concatenate([columns for _, columns in parts])
    check(isinstance(segmentation, dict), f"{where}: segmentation: wanted a list of polygons, or an object with counts")
    counts = segmentation.get("counts")
    try:
        said = tuple(numbers(segmentation.get("size"), (2,), "size").tolist())
        check(said == size, f"size: {said} is not the image's, which is {size}")
        counts = coco_counts(counts) if isinstance(counts, str) else counts
        check(isinstance(counts, list), "counts: wanted text or a list")
        rows, columns = np.nonzero(coco_mask(counts, size))
    except InputError as error:
        raise InputError(f"{where}: segmentation: {error}") from error
    return rows, columns


def _apart(shapes: Sequence[tuple[int, Drawn]]) -> Callable[[Size], Labels]:
    """Labels of an image's size in which what two shapes share is not labelled."""

    def labels(size: Size) -> Labels:
        drawing = np.zeros(size, np.uint8)
        seen, shared = np.zeros(size, bool), np.zeros(size, bool)
        for index, drawn in shapes:
            mask = np.zeros(size, bool)
            mask[drawn(size)] = True
            drawing[mask] = index
            shared |= mask & seen
            seen |= mask
        drawing[shared] = IGNORED
        return drawing

    return labels
