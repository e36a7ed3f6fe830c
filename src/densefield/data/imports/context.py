"""PASCAL-Context (Mottaghi et al., "The Role of Context", CVPR 2014): the 59 classes that are measured, and background.

As Long et al. 2015 read it: what is none of the 59 is background.
"""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np

from densefield.checks import InputError, check, shown
from densefield.classes import ClassList
from densefield.data.imports.found import Asked, Found, Item, Labels, Size, folder_of, image_of, images_in, read_lines
from densefield.data.imports.mat_files import labels_of, mat_files, read_mat
from densefield.data.voc import voc_colors

# What 59_labels.txt calls otherwise than labels.txt.
_OTHERWISE = {"diningtable": "table", "bedcloth": "bedclothes", "clothes": "cloth"}


def context(source: Path, asked: Asked) -> Found:
    """Every trainval/NAME.mat with the image of its name in JPEGImages, those of VOC 2010."""
    home = folder_of(source, "trainval, labels.txt and 59_labels.txt")
    numbers = {name: number for number, name in _listed(home / "labels.txt").items()}
    names = list(_listed(home / "59_labels.txt").values())
    table = np.zeros(max(numbers.values()) + 1, np.uint8)  # 0 in the files is nothing of the list
    for index, name in enumerate(names, 1):
        known = name if name in numbers else _OTHERWISE.get(name, name)
        check(known in numbers, f"{home / '59_labels.txt'}: {name!r} is not in labels.txt")
        table[numbers[known]] = index
    try:
        classes = ClassList(("background", *names), voc_colors(len(names) + 1), ignore_declared=True)
    except InputError as error:
        raise InputError(f"{home / '59_labels.txt'}: {error}") from error
    files = mat_files(home / "trainval")
    images = images_in(home / "JPEGImages", f"{home}: comes without images, which are VOC 2010's", asked)
    items = [
        Item(path.stem, image_of(path.stem, images, str(path)), functools.partial(_read, path, table), str(path))
        for path in files
    ]
    return Found(classes, items)


def _listed(path: Path) -> dict[int, str]:
    """The lines "1: accordion"."""
    names: dict[int, str] = {}
    for number, line in enumerate(read_lines(path), 1):
        place, colon, name = (part.strip() for part in line.partition(":"))
        right = place.isdecimal() and len(place) <= 5 and int(place) >= 1 and bool(colon and name)
        check(right, f"{path}: line {number}: wanted a number and a label such as 1: accordion, received {shown(line)}")
        check(int(place) not in names, f"{path}: line {number}: {place} stands there twice")
        names[int(place)] = name
    check(bool(names), f"{path}: is empty")
    return names


def _read(path: Path, table: Labels, _: Size) -> Labels:
    labels = labels_of(read_mat(path, "LabelMap"), f"{path}: LabelMap")
    least, most = int(labels.min()), int(labels.max())
    known = least >= 0 and most < len(table)
    check(known, f"{path}: LabelMap: holds {least} to {most}, wanted 0 to {len(table) - 1}, as labels.txt lists")
    return np.asarray(table[labels])
