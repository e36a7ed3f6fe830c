"""CVAT's "Segmentation mask 1.1": labelmap.txt, and masks in its colors, in folders named as Pascal VOC's.

Format: https://docs.cvat.ai/docs/dataset_management/formats/format-smask/
"""

from __future__ import annotations

import functools
from pathlib import Path

from densefield.checks import InputError, check, shown
from densefield.classes import ClassList, Color
from densefield.data.imports.found import Asked, Found, Item, folder_of, image_of, images_in, read_lines, read_mask
from densefield.images.listing import list_pictures

_IGNORED = "ignored"  # as VOC's label map calls the border


def cvat(source: Path, asked: Asked) -> Found:
    """Every mask in SegmentationClass with the image of its name in JPEGImages."""
    classes = _label_map(folder_of(source, "labelmap.txt and SegmentationClass") / "labelmap.txt")
    masks = list_pictures(source / "SegmentationClass", "masks", deep=True)
    images = images_in(source / "JPEGImages", f"{source}: exported without images", asked)
    items = []
    for mask in masks.pictures:
        name = masks.name(mask)
        image = image_of(name, images, str(mask))
        items.append(Item(name, image, functools.partial(read_mask, mask, classes), str(mask)))
    return Found(classes, items)


def _label_map(path: Path) -> ClassList:
    """The labels in the file's order, which is also that of masks in grey; black that no label has is not labelled."""
    colors: dict[str, Color] = {}
    for number, line in enumerate(read_lines(path), 1):
        if line.startswith("#"):  # "# label:color_rgb:parts:actions"
            continue
        where = f"{path}: line {number}"
        name, _, rest = line.partition(":")
        parts = [part.strip() for part in rest.partition(":")[0].split(",")]
        right = len(parts) == 3 and all(part.isdecimal() and len(part) <= 3 and int(part) <= 255 for part in parts)
        check(bool(name) and right, f"{where}: wanted label:red,green,blue::, received {shown(line)}")
        check(name not in colors, f"{where}: {name!r} stands there twice; give each label its own name")
        colors[name] = (int(parts[0]), int(parts[1]), int(parts[2]))
    ignored = [colors.pop(_IGNORED)] if _IGNORED in colors else []
    if (0, 0, 0) not in [*colors.values(), *ignored]:
        ignored.append((0, 0, 0))
    try:
        return ClassList(tuple(colors), tuple(colors.values()), ignore_declared=True, ignore_colors=tuple(ignored))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
