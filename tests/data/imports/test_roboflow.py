"""Roboflow's "Semantic Segmentation Masks": values as `_classes.csv` says, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

CLASSES = "Pixel Value, Class\n0, background\n1, cat\n2, dog\n"
MASK = np.array([[0, 1, 1, 0], [2, 2, 0, 0]], np.uint8)
NAMES = ("train/a_jpg.rf.0f1e2d3c4b5a69788796a5b4c3d2e1f0", "valid/b_png.rf.11112222333344445555666677778888")


@pytest.fixture
def source(tmp_path: Path, photo: Any) -> Path:
    """An unpacked export of two splits."""
    home = tmp_path / "src"
    for name, mask in zip(NAMES, (MASK, MASK[::-1]), strict=True):
        photo(home / f"{name}.jpg", (2, 4))
        Image.fromarray(mask).save(home / f"{name}_mask.png")
        (home / name).with_name("_classes.csv").write_text(CLASSES)
    (home / "README.roboflow.txt").write_text("exported")
    return home


def test_values_are_those_of_the_list_and_splits_stay_apart(source: Path, imported: Any) -> None:
    classes, masks, _ = imported(source, "roboflow")
    assert classes.names == ("background", "cat", "dog")
    assert classes.colors[0] == (0, 0, 0)
    assert masks[NAMES[0]].tolist() == MASK.tolist()
    assert masks[NAMES[1]].tolist() == MASK[::-1].tolist()


def test_values_with_gaps_stay_as_they_are(source: Path, imported: Any, photo: Any) -> None:
    train = source / "train"
    (train / "_classes.csv").write_text(CLASSES.replace("1,", "4,"))
    Image.fromarray(np.where(MASK == 1, 4, MASK)).save(source / f"{NAMES[0]}_mask.png")
    photo(train / "c.jpg", (2, 4))
    Image.fromarray(MASK // 2 * 2).save(train / "c_mask.png")
    photo(train / "d.jpg", (2, 4))
    classes, masks, said = imported(train, "roboflow")
    assert classes.values == (0, 4, 2)
    assert masks[NAMES[0].removeprefix("train/")].tolist() == np.where(MASK == 1, 4, MASK).tolist()
    assert "left out: 1 × image without a mask" in said


@pytest.mark.parametrize(
    ("listed", "line"),
    [
        (CLASSES.replace("2, dog", "2, cat"), "train/_classes.csv: names: 'cat' stands there twice"),
        (CLASSES.replace("2, dog", "1, dog"), "train/_classes.csv: values: 1 stands there twice"),
        (CLASSES.replace("2, dog", "two, dog"), "line 4: wanted a pixel value and a class such as 1, cat"),
        (CLASSES.replace("2, dog\n", ""), "valid/_classes.csv: names other classes than"),
        ("", "names: wanted 1 to 255 classes, received 0"),
    ],
)
def test_a_list_that_cannot_be_is_one_line(source: Path, refused: Any, listed: str, line: str) -> None:
    (source / "train" / "_classes.csv").write_text(listed)
    assert line in refused(source, "roboflow")


def test_other_slips_are_one_line(source: Path, refused: Any) -> None:
    Image.fromarray(MASK + 5).save(source / f"{NAMES[0]}_mask.png")
    assert "holds label value 5, 6, 7, which is no class" in refused(source, "roboflow")
    (source / f"{NAMES[0]}.jpg").unlink()
    assert "has no image of its name" in refused(source, "roboflow")
    assert "--images: format roboflow has no use for it; wanted only with cvat" in refused(
        source, "roboflow", "--images", str(source)
    )
    for listed in source.rglob("_classes.csv"):
        listed.unlink()
    assert "holds no _classes.csv" in refused(source, "roboflow")
