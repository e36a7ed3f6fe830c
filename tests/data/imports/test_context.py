"""PASCAL-Context's layout: 459 labels become 59 and the background, three of them under other names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io

LABELS = ["accordion", "aeroplane", "bed clothes", "bedclothes", "cloth", "sky", "table", "zebra"]
MEASURED = ["aeroplane", "bedcloth", "clothes", "diningtable", "sky"]
MAP = np.array([[0, 1, 2, 3, 4], [5, 6, 7, 8, 2]], np.uint16)
WANTED = [[0, 0, 1, 0, 2], [3, 5, 4, 0, 1]]


@pytest.fixture
def source(tmp_path: Path, photo: Any) -> Path:
    home = tmp_path / "src"
    (home / "trainval").mkdir(parents=True)
    (home / "labels.txt").write_text("".join(f"{number}: {name}\n" for number, name in enumerate(LABELS, 1)))
    (home / "59_labels.txt").write_text("".join(f"{number}: {name}\n" for number, name in enumerate(MEASURED, 1)))
    for name, labels in (("2008_000002", MAP), ("2010_004069", MAP[::-1])):
        photo(tmp_path / "VOC2010" / "JPEGImages" / f"{name}.jpg", MAP.shape)
        scipy.io.savemat(home / "trainval" / f"{name}.mat", {"LabelMap": labels}, do_compression=True)
    return home


def test_labels_are_those_that_are_measured_and_background(source: Path, imported: Any) -> None:
    images = source.parent / "VOC2010" / "JPEGImages"
    classes, masks, _ = imported(source, "context", "--images", str(images))
    assert classes.names == ("background", *MEASURED)
    assert masks["2008_000002"].tolist() == WANTED
    assert masks["2010_004069"].tolist() == WANTED[::-1]


@pytest.mark.parametrize(
    ("file", "old", "new", "line"),
    [
        ("labels.txt", "6: sky\n", "", "59_labels.txt: 'sky' is not in labels.txt"),
        ("labels.txt", "8: zebra", "8 zebra", "labels.txt: line 8: wanted a number and a label such as 1: accordion"),
        ("labels.txt", "8: zebra", "0" * 5000 + "8: zebra", "labels.txt: line 8: wanted a number and a label"),
        ("labels.txt", "8: zebra", "7: zebra", "labels.txt: line 8: 7 stands there twice"),
        ("labels.txt", "8: zebra\n", "", "LabelMap: holds 0 to 8, wanted 0 to 7, as labels.txt lists"),
        ("59_labels.txt", "5: sky", "5: aeroplane", "names: 'aeroplane' stands there twice"),
        ("59_labels.txt", None, "", "59_labels.txt: is empty"),
    ],
)
def test_a_list_that_cannot_be_is_one_line(
    source: Path, refused: Any, file: str, old: str | None, new: str, line: str
) -> None:
    text = (source / file).read_text()
    (source / file).write_text(new if old is None else text.replace(old, new))
    images = source.parent / "VOC2010" / "JPEGImages"
    assert line in refused(source, "context", "--images", str(images))


def test_other_slips_are_one_line(source: Path, refused: Any) -> None:
    assert "comes without images, which are VOC 2010's: there is no" in refused(source, "context")
    images = str(source.parent / "VOC2010" / "JPEGImages")
    scipy.io.savemat(source / "trainval" / "2008_000002.mat", {"LabelMap": {"a": 1}})
    assert "LabelMap: wanted a matrix of labels" in refused(source, "context", "--images", images)
    scipy.io.savemat(source / "trainval" / "2008_000002.mat", {"GTcls": 1})
    assert "holds 'GTcls'; wanted LabelMap" in refused(source, "context", "--images", images)
