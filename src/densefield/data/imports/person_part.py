"""PASCAL-Person-Part: the persons of PASCAL-Part (Chen et al., "Detect What You Can", CVPR 2014) in six parts.

The 24 parts of a person are merged into the six that Chen et al. 2016 measure; the neck counts as head.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from densefield.checks import check
from densefield.classes import ClassList
from densefield.data.imports.found import Asked, Found, Item, Labels, Size, folder_of, image_of, images_in
from densefield.data.imports.mat_files import field, labels_of, mat_files, read_mat
from densefield.data.voc import voc_colors

_PARTS = {
    "head": ("head", "leye", "reye", "lear", "rear", "lebrow", "rebrow", "nose", "mouth", "hair", "neck"),
    "torso": ("torso",),
    "upper arms": ("luarm", "ruarm"),
    "lower arms": ("llarm", "rlarm", "lhand", "rhand"),
    "upper legs": ("luleg", "ruleg"),
    "lower legs": ("llleg", "rlleg", "lfoot", "rfoot"),
}
_CLASSES = ClassList(("background", *_PARTS), voc_colors(1 + len(_PARTS)), ignore_declared=True)
_INDICES = {part: index for index, parts in enumerate(_PARTS.values(), 1) for part in parts}


def person_part(source: Path, asked: Asked) -> Found:
    """Every Annotations_Part/NAME.mat that tells parts of a person, with the image of its name in JPEGImages."""
    files = mat_files(folder_of(source, "Annotations_Part") / "Annotations_Part")
    images = images_in(source / "JPEGImages", f"{source}: comes without images, which are VOC 2010's", asked)
    persons = [path for path in files if any(True for _ in _parts(path))]
    check(bool(persons), f"{source}: tells no parts of a person")
    items = [
        Item(path.stem, image_of(path.stem, images, str(path)), functools.partial(_read, path), str(path))
        for path in persons
    ]
    return Found(_CLASSES, items, Counter({"image without a person in parts": len(files) - len(persons)}))


def _read(path: Path, size: Size) -> Labels:
    """The parts in the file's order, later ones on top, as PASCAL-Part's own code draws them."""
    labels = np.zeros(size, np.uint8)
    for index, mask in _parts(path):
        differ = f"{path}: labels {mask.shape[1]}x{mask.shape[0]} pixels, its image has {size[1]}x{size[0]}"
        check(mask.shape == size, differ)
        labels[mask != 0] = index
    return labels


def _parts(path: Path) -> Iterator[tuple[int, Any]]:
    """The class and the mask of every part of every person."""
    where = f"{path}: anno"
    for place, thing in enumerate(_structures(field(read_mat(path, "anno"), "objects", where), f"{where}.objects")):
        at = f"{where}.objects({place + 1})"
        if field([thing], "class", at) != "person":
            continue
        for number, part in enumerate(_structures(field([thing], "parts", at), f"{at}.parts")):
            name = field([part], "part_name", f"{at}.parts({number + 1})")
            known = isinstance(name, str) and name in _INDICES
            check(known, f"{at}.parts({number + 1}): part_name: {name!r:.60} is no part of a person")
            yield _INDICES[name], labels_of(field([part], "mask", f"{at}.{name}"), f"{at}.{name}.mask")


def _structures(value: Any, where: str) -> list[Any]:
    """The structures of an array; MATLAB writes an array of none as an empty matrix."""
    empty = isinstance(value, np.ndarray) and value.size == 0
    check(empty or isinstance(value, list), f"{where}: wanted structures")
    return [] if empty else value
