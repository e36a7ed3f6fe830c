"""PASCAL VOC's segmentation sets as published: 20 classes and the background, borders not labelled.

Everingham et al., "The PASCAL Visual Object Classes Challenge: A Retrospective", 2015: 1,464 images to train on and
1,449 to validate on in VOC 2012. The 10,582 of the augmented set are those of Hariharan et al., "Semantic Contours from
Inverse Detectors", 2011, in the form of files that DeepLab's users hand on.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from densefield.built import described
from densefield.checks import InputError, check
from densefield.classes import IGNORED_COLOR, ClassList, Color
from densefield.data.published import Files, Origin, Published, home_of
from densefield.data.sample import data_root

VOC = Origin("PASCAL VOC 2012", "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/ (VOCtrainval_11-May-2012.tar)")
AUGMENTED = Origin(
    "augmented PASCAL VOC",
    "https://github.com/DrSleep/tensorflow-deeplab-resnet (SegmentationClassAug.zip; train_aug.txt is its train.txt)",
)

NAMES = (
    "background",
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)


def voc_colors(count: int) -> tuple[Color, ...]:
    """The first colors of VOC's palette: an index's bits dealt out to red, green and blue, highest places first.

    Source: VOClabelcolormap.m of the development kit. 255 is the cream of borders.
    """
    return tuple((_spread(index), _spread(index >> 1), _spread(index >> 2)) for index in range(count))


def _spread(index: int) -> int:
    """The bits 0, 3, 6 … of an index as 128, 64, 32 …"""
    return sum(((index >> (3 * place)) & 1) << (7 - place) for place in range(3))


FILE_CLASSES = ClassList(
    names=NAMES,
    colors=voc_colors(len(NAMES)),
    ignore_declared=True,
    ignore_colors=(IGNORED_COLOR,),
)


@described()
def voc(
    split: str = "train",
    *,
    root: Annotated[str, Field(default_factory=partial(data_root, "VOCdevkit/VOC2012"))],
    variant: Literal["original", "augmented"] = "original",
) -> Published:
    """PASCAL VOC: `root`/JPEGImages, SegmentationClass and the lists of ImageSets/Segmentation.

    `split` is the name of a list there: train, val, trainval, or one that was put there, such as seg11valid. Each line
    is a name, or the paths below `root` of an image and its mask. "augmented" trains on the images of train_aug.txt,
    whose masks lie in SegmentationClassAug; every other split is VOC's own. In a recipe `root` is by default
    VOCdevkit/VOC2012 in $DENSEFIELD_DATA or in ./data.
    Raises `InputError` for what is missing, and for a training list that names images of val.txt.
    """
    lists = "ImageSets/Segmentation"
    home = home_of(root, ("JPEGImages", "SegmentationClass", lists), VOC)
    check(bool(re.fullmatch(r"\w[\w-]*", split)), f"split: wanted the name of a list in {lists}, received {split!r}")
    if variant != "augmented" or split != "train":
        return Published(_listed(home, f"{lists}/{split}.txt", "SegmentationClass", VOC), FILE_CLASSES, VOC)
    home_of(root, ("SegmentationClassAug", f"{lists}/train_aug.txt"), AUGMENTED)
    files = _listed(home, f"{lists}/train_aug.txt", "SegmentationClassAug", AUGMENTED)
    held_out = {each.name for each in _listed(home, f"{lists}/val.txt", "SegmentationClass", VOC)}
    for name, _, _ in files:
        check(name not in held_out, f"{home / lists}/train_aug.txt: names {name}, which val.txt holds out; take it out")
    return Published(files, FILE_CLASSES, AUGMENTED)


def _listed(home: Path, listing: str, masks: str, origin: Origin) -> list[Files]:
    """The pairs that a list names, in its order."""
    path = home / listing
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError as error:
        there = ", ".join(sorted(each.stem for each in path.parent.glob("*.txt"))) or "none"
        raise InputError(f"{path}: no such list; there are: {there}; {origin}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read; wanted a name, or the paths of image and mask, a line") from error
    files = []
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if not words:
            continue
        place = f"{path}, line {number}"
        check(len(words) <= 2, f"{place}: holds {len(words)} words; wanted a name, or the paths of image and mask")
        if len(words) == 1:
            words = [f"JPEGImages/{words[0]}.jpg", f"{masks}/{words[0]}.png"]
        image, mask = (_below(home, word, place) for word in words)
        files.append(Files(image.stem, image, mask))
    check(bool(files), f"{path}: names no image; wanted a name, or the paths of image and mask, a line")
    return files


def _below(home: Path, word: str, place: str) -> Path:
    """A path that a list gives as if `home` were the disk's root."""
    inside = Path(word.lstrip("/"))
    check(not inside.is_absolute() and ".." not in inside.parts, f"{place}: {word} leads out of {home}")
    return home / inside
