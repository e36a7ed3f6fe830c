"""`densefield data import`: labels of other tools and data sets become a folder of images and masks."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeAlias

from densefield.cli.terminal import plain_console, tracked

Format: TypeAlias = Literal["labelme", "cvat", "roboflow", "label_studio", "coco", "sbd", "context", "person_part"]


def import_folder(
    source: Path,
    *,
    format: Format,
    out: Path,
    images: Path | None = None,
    classes: Path | None = None,
    only: Path | None = None,
    without: Path | None = None,
    as_voc: bool = False,
    copy: bool = False,
) -> int:
    """Write images and labels of a labelling tool or a published set as one folder: images, masks, classes.yaml.

    Nothing is written where something is wrong. Look at the result with densefield data check.

    Args:
        source: The folder, or the file, that the tool exported or the set is published as.
        format: Who wrote it; docs/data.md has what each should look like.
        out: The new folder.
        images: The folder of the images, where it is not the one that the format has for them.
        classes: The class list (YAML) to label by, for formats that name labels freely; a label it lacks is an error.
        only: A list of names, such as a split's train.txt: the images to import.
        without: A list of names: the images to leave out.
        as_voc: Of COCO keep PASCAL VOC's 20 classes in its order; where objects overlap, nothing is labelled.
        copy: Copy the images; by default they are links to where they lie.
    """
    from densefield.checks import counted
    from densefield.classes import ClassList
    from densefield.data.imports import Asked, import_data

    asked = Asked(classes=None if classes is None else ClassList.read(classes), images=images, as_voc=as_voc)
    found = import_data(
        source,
        format,
        out,
        asked,
        only=only,
        without=without,
        copy=copy,
        progress=lambda items: tracked(items, "writing", len(items)),
    )
    console = plain_console()
    console.print(f"{out}: {counted(len(found.items), 'image')}, each with its mask; {'copied' if copy else 'linked'}")
    console.print(f"classes: {', '.join(found.classes.names)}")
    for what, count in sorted(found.left_out.items()):
        if count:
            console.print(f"left out: {count} × {what}")
    return 0
