"""Cityscapes as published, with the fine labels: 19 classes of street scenes, all other labels ignored.

Cordts et al., "The Cityscapes Dataset for Semantic Urban Scene Understanding", 2016; names, ids and colors are those of
labels.py in the authors' scripts.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

from pydantic import Field

from densefield.built import described
from densefield.checks import check
from densefield.classes import ClassList, Color
from densefield.data.published import Files, Origin, Published, home_of, names_in
from densefield.data.sample import data_root

CITYSCAPES = Origin(
    "Cityscapes",
    "https://www.cityscapes-dataset.com/downloads/ (leftImg8bit_trainvaltest.zip, gtFine_trainvaltest.zip)",
)

# By the value in labelIds.png, in the order of the authors' trainIds.
TRAINED: dict[int, tuple[str, Color]] = {
    7: ("road", (128, 64, 128)),
    8: ("sidewalk", (244, 35, 232)),
    11: ("building", (70, 70, 70)),
    12: ("wall", (102, 102, 156)),
    13: ("fence", (190, 153, 153)),
    17: ("pole", (153, 153, 153)),
    19: ("traffic light", (250, 170, 30)),
    20: ("traffic sign", (220, 220, 0)),
    21: ("vegetation", (107, 142, 35)),
    22: ("terrain", (152, 251, 152)),
    23: ("sky", (70, 130, 180)),
    24: ("person", (220, 20, 60)),
    25: ("rider", (255, 0, 0)),
    26: ("car", (0, 0, 142)),
    27: ("truck", (0, 0, 70)),
    28: ("bus", (0, 60, 100)),
    31: ("train", (0, 80, 100)),
    32: ("motorcycle", (0, 0, 230)),
    33: ("bicycle", (119, 11, 32)),
}
# From "unlabeled" and "ego vehicle" to "trailer": labels that are not measured.
IGNORED_IDS = tuple(value for value in range(34) if value not in TRAINED)

FILE_CLASSES = ClassList(
    names=tuple(name for name, _ in TRAINED.values()),
    colors=tuple(color for _, color in TRAINED.values()),
    values=tuple(TRAINED),
    ignore_index=0,
    ignore_declared=True,
    ignore_colors=((0, 0, 0),),
)
_IMAGE, _MASK = "_leftImg8bit.png", "_gtFine_labelIds.png"


@described()
def cityscapes(
    split: str = "train", *, root: Annotated[str, Field(default_factory=partial(data_root, "cityscapes"))]
) -> Published:
    """Cityscapes: `root`/leftImg8bit and the fine labels in `root`/gtFine, both with folders SPLIT/CITY.

    X_leftImg8bit.png belongs to X_gtFine_labelIds.png, whose ids become the 19 classes of the benchmark; the rest is
    ignored. `split` is train (2,975) or val (500): the labels of test are blank, and it is refused. In a recipe `root`
    is by default cityscapes in $DENSEFIELD_DATA or in ./data.
    Raises `InputError` for what is missing.
    """
    blank = "; its labels are not published, and the files for them are blank" if split == "test" else ""
    check(split in ("train", "val"), f"split: wanted train or val of Cityscapes, received {split!r}{blank}")
    home = home_of(root, (f"leftImg8bit/{split}", f"gtFine/{split}"), CITYSCAPES)
    images, masks = (_found(home / room / split, end) for room, end in (("leftImg8bit", _IMAGE), ("gtFine", _MASK)))
    names = sorted(images | masks)
    check(bool(names), f"{home / 'leftImg8bit' / split}: holds no CITY/X{_IMAGE}; unpack all of it; {CITYSCAPES}")
    files = [
        Files(
            name.rpartition("/")[2],
            home / "leftImg8bit" / split / f"{name}{_IMAGE}",
            home / "gtFine" / split / f"{name}{_MASK}",
        )
        for name in names
    ]
    return Published(files, FILE_CLASSES, CITYSCAPES, ignored=IGNORED_IDS)


def _found(folder: Path, end: str) -> set[str]:
    """CITY/X of each file in a city's folder whose name ends so; hidden ones are what macOS puts into archives."""
    cities = [city for city in names_in(folder) if (folder / city).is_dir()]
    names = [f"{city}/{name}" for city in cities for name in names_in(folder / city) if not name.startswith(".")]
    return {name.removesuffix(end) for name in names if name.endswith(end)}
