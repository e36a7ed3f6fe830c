"""The Semantic Boundaries Dataset (Hariharan et al., "Semantic Contours from Inverse Detectors", ICCV 2011).

Its 11,355 images less those that PASCAL VOC 2012 validates on, with VOC's own for training, are the usual 10,582.
"""

from __future__ import annotations

import functools
from pathlib import Path

from densefield.data.imports.found import Asked, Found, Item, Labels, Size, folder_of, image_of, images_in
from densefield.data.imports.mat_files import field, labels_of, mat_files, read_mat
from densefield.data.sample import target_of
from densefield.data.voc import FILE_CLASSES


def sbd(source: Path, asked: Asked) -> Found:
    """Every cls/NAME.mat, of both splits, with img/NAME.jpg."""
    home = folder_of(source, "cls and img")
    home = home / "dataset" if (home / "dataset").is_dir() else home  # in benchmark_RELEASE
    files = mat_files(home / "cls")
    images = images_in(home / "img", str(home), asked)
    return Found(
        FILE_CLASSES,
        [
            Item(path.stem, image_of(path.stem, images, str(path)), functools.partial(_read, path), str(path))
            for path in files
        ],
    )


def _read(path: Path, _: Size) -> Labels:
    where = f"{path}: GTcls"
    labels = labels_of(field(read_mat(path, "GTcls"), "Segmentation", where), f"{where}.Segmentation")
    return target_of(labels, FILE_CLASSES, where)
