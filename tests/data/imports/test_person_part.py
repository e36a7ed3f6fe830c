"""PASCAL-Part's annotations: 24 parts of a person become six, later ones on top."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io

SIZE = (6, 8)
PARTS = {
    1: ["head", "leye", "reye", "lear", "rear", "lebrow", "rebrow", "nose", "mouth", "hair", "neck"],
    2: ["torso"],
    3: ["luarm", "ruarm"],
    4: ["llarm", "rlarm", "lhand", "rhand"],
    5: ["luleg", "ruleg"],
    6: ["llleg", "rlleg", "lfoot", "rfoot"],
}


def box(top: int, left: int, height: int = 1, width: int = 1, size: tuple[int, int] = SIZE) -> np.ndarray:
    mask = np.zeros(size, np.uint8)
    mask[top : top + height, left : left + width] = 1
    return mask


def write(path: Path, *things: tuple[str, Any]) -> None:
    """`anno` as PASCAL-Part has it: of each thing its class and its parts, by their names."""
    objects = np.zeros((1, len(things)), [(name, object) for name in ("class", "class_ind", "mask", "parts")])
    for place, (kind, parts) in enumerate(things):
        listed = np.zeros((1, len(parts)), [("part_name", object), ("mask", object)])
        for number, part in enumerate(parts):
            listed[0, number] = part
        objects[0, place] = (kind, 15, box(0, 0), listed if parts else np.zeros((0, 0)))
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(path, {"anno": {"imname": path.stem, "objects": objects}}, do_compression=True)


@pytest.fixture
def source(tmp_path: Path, photo: Any) -> Path:
    home = tmp_path / "src"
    for name in ("2008_000003", "2008_000008", "2008_000016"):
        photo(home / "JPEGImages" / f"{name}.jpg", SIZE)
    person = [("head", box(0, 0, 2, 4)), ("leye", box(0, 1)), ("torso", box(1, 0, 4, 3)), ("lhand", box(4, 2))]
    dog = [("head", box(0, 5, 3, 3)), ("muzzle", box(0, 6))]
    write(home / "Annotations_Part" / "2008_000003.mat", ("dog", dog), ("person", person), ("person", []))
    names = [name for names in PARTS.values() for name in names]
    every = [(name, box(place // 8, place % 8)) for place, name in enumerate(names)]
    write(home / "Annotations_Part" / "2008_000008.mat", ("person", every))
    write(home / "Annotations_Part" / "2008_000016.mat", ("person", []), ("dog", dog))
    return home


def test_parts_are_merged_pixel_for_pixel(source: Path, imported: Any) -> None:
    classes, masks, said = imported(source, "person_part")
    assert classes.names == (
        *("background", "head", "torso", "upper arms"),
        *("lower arms", "upper legs", "lower legs"),
    )
    wanted = np.zeros(SIZE, int)
    wanted[:2, :4] = 1
    wanted[1:5, :3] = 2
    wanted[4, 2] = 4
    assert masks["2008_000003"].tolist() == wanted.tolist()
    merged = [index for index, names in PARTS.items() for _ in names]
    assert masks["2008_000008"].ravel().tolist() == merged + [0] * (SIZE[0] * SIZE[1] - len(merged))
    assert "2008_000016" not in masks
    assert "left out: 1 × image without a person in parts" in said


@pytest.mark.parametrize(
    ("things", "line"),
    [
        ([("person", [("tail", box(0, 0))])], "anno.objects(1).parts(1): part_name: 'tail' is no part of a person"),
        ([("person", [("head", "x")])], "anno.objects(1).head.mask: wanted a matrix of labels"),
        ([("person", [("head", box(0, 0, size=(8, 6)))])], "labels 6x8 pixels, its image has 8x6"),
        ([("dog", [])], "tells no parts of a person"),
    ],
)
def test_a_bad_annotation_is_one_line(source: Path, refused: Any, things: Any, line: str) -> None:
    for path in (source / "Annotations_Part").glob("*.mat"):
        path.unlink()
    write(source / "Annotations_Part" / "2008_000008.mat", *things)
    assert line in refused(source, "person_part")


def test_another_mat_file_is_one_line(source: Path, refused: Any) -> None:
    path = source / "Annotations_Part" / "2008_000003.mat"
    scipy.io.savemat(path, {"anno": {"imname": "x"}})
    assert "anno: wanted a structure with objects" in refused(source, "person_part")
    scipy.io.savemat(path, {"anno": {"objects": 4}})
    assert "anno.objects: wanted structures" in refused(source, "person_part")
    (source / "JPEGImages").rename(source / "photos")
    assert "comes without images" in refused(source, "person_part")
