"""Labels as data sets are published and as labelling tools export them, written as the one folder layout.

One file a format: a function of the source and of what was asked for that gives `Found`; `writing` does the rest.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from densefield.checks import InputError, likely
from densefield.data.imports.coco import coco
from densefield.data.imports.context import context
from densefield.data.imports.cvat import cvat
from densefield.data.imports.found import Asked, Found, Item, chosen
from densefield.data.imports.label_studio import label_studio
from densefield.data.imports.labelme import labelme
from densefield.data.imports.person_part import person_part
from densefield.data.imports.roboflow import roboflow
from densefield.data.imports.sbd import sbd
from densefield.data.imports.writing import write

__all__ = ["FORMATS", "Asked", "Found", "import_data"]


class Format(NamedTuple):
    """How a format is read, and which fields of `Asked` it takes."""

    read: Callable[[Path, Asked], Found]
    takes: tuple[str, ...] = ()


FORMATS = {
    "labelme": Format(labelme, ("classes",)),
    "cvat": Format(cvat, ("images",)),
    "label_studio": Format(label_studio, ("images", "classes")),
    "sbd": Format(sbd, ("images",)),
    "context": Format(context, ("images",)),
    "person_part": Format(person_part, ("images",)),
    "coco": Format(coco, ("images", "classes", "as_voc")),
    "roboflow": Format(roboflow),
}


def import_data(
    source: str | os.PathLike[str],
    format: str,
    out: str | os.PathLike[str],
    asked: Asked = Asked(),  # noqa: B008, which is frozen
    *,
    only: Path | None = None,
    without: Path | None = None,
    copy: bool = False,
    progress: Callable[[list[Item]], Iterable[Item]] = iter,
) -> Found:
    """Write the labelled images at `source`, in one of `FORMATS`, into the new folder `out`.

    It holds images, masks and classes.yaml. `only` and `without` are files that list names, such as VOC's splits.
    Images are linked, or with `copy` copied; `progress` may wrap them to show how far the work is. Gives what was
    found. Raises `InputError` for what cannot be used; then nothing is written.
    """
    if format not in FORMATS:
        raise InputError(f"format: there is no {format!r}{likely(format, list(FORMATS))} Wanted: {', '.join(FORMATS)}")
    for field in dataclasses.fields(asked):
        if getattr(asked, field.name) != field.default and field.name not in FORMATS[format].takes:
            takers = ", ".join(name for name, one in FORMATS.items() if field.name in one.takes)
            flag = f"--{field.name.replace('_', '-')}"
            raise InputError(f"{flag}: format {format} has no use for it; wanted only with {takers}")
    found = FORMATS[format].read(Path(source), asked)
    if not found.items:
        raise InputError(f"{source}: holds no labelled image")
    found = chosen(found, only=only, without=without)
    write(found, Path(out), copy=copy, progress=progress)
    return found
