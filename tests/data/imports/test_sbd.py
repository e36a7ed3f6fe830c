"""SBD's layout, lists of names, and MATLAB files that are none."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io

from drawing import seeded

SIZE = (12, 9)
NAMES = ("2008_000002", "2008_000003", "2008_000007")


def write(path: Path, labels: Any, **more: Any) -> np.ndarray:
    """As SBD has it: labels, edges a class (sparse), and which classes there are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    edges = np.empty((20, 1), object)
    for index in range(20):
        edges[index, 0] = scipy.sparse.csc_matrix(np.eye(*SIZE, dtype=bool))
    fields = {"Boundaries": edges, "Segmentation": labels, "CategoriesPresent": np.array([[1, 20]], np.uint8)}
    scipy.io.savemat(path, {"GTcls": fields, **more}, do_compression=True)
    return np.asarray(labels)


@pytest.fixture
def wanted() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seeded(8))
    return {name: rng.integers(0, 21, SIZE, np.uint8) for name in NAMES}


@pytest.fixture
def source(tmp_path: Path, photo: Any, wanted: dict[str, np.ndarray]) -> Path:
    """What benchmark.tgz unpacks to."""
    home = tmp_path / "benchmark_RELEASE" / "dataset"
    for name, labels in wanted.items():
        photo(home / "img" / f"{name}.jpg", SIZE)
        write(home / "cls" / f"{name}.mat", labels)
        write(home / "inst" / f"{name}.mat", labels)
    (home / "train.txt").write_text("\n".join(NAMES[:2]) + "\n")
    return home


def test_labels_are_vocs_pixel_for_pixel(source: Path, imported: Any, wanted: dict[str, np.ndarray]) -> None:
    classes, masks, _ = imported(source.parent, "sbd")
    assert (len(classes), classes.names[15], classes.colors[15]) == (21, "person", (192, 128, 128))
    assert sorted(masks) == list(NAMES)
    for name, labels in wanted.items():
        assert np.array_equal(masks[name], labels)


def test_lists_say_which_images_are_meant(source: Path, tmp_path: Path, imported: Any) -> None:
    val = tmp_path / "val.txt"
    val.write_text("2008_000003 -1\n2010_000001 -1\n")
    _, masks, said = imported(source, "sbd", "--without", str(val))
    assert sorted(masks) == [NAMES[0], NAMES[2]]
    assert "left out: 1 × image that the lists leave out" in said


def test_lists_of_paths_are_read_by_their_names(source: Path, tmp_path: Path, imported: Any) -> None:
    listed = tmp_path / "train_aug.txt"
    listed.write_text("".join(f"/JPEGImages/{name}.jpg /SegmentationClassAug/{name}.png\n" for name in NAMES[1:]))
    _, masks, _ = imported(source, "sbd", "--only", str(listed))
    assert sorted(masks) == list(NAMES[1:])


def test_lists_that_cannot_be_are_one_line(source: Path, tmp_path: Path, refused: Any) -> None:
    listed = tmp_path / "list.txt"
    listed.write_text("a\n")
    assert "names none of the images, such as 2008_000002" in refused(source, "sbd", "--only", str(listed))
    listed.write_text("\n".join(NAMES))
    assert "--without: " in refused(source, "sbd", "--without", str(listed))
    assert "cannot be read" in refused(source, "sbd", "--only", str(tmp_path / "none.txt"))


def _bomb(path: Path) -> None:
    head = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x00\x01IM"
    packed = zlib.compressobj()
    body = b"".join(packed.compress(bytes(2**20)) for _ in range(300)) + packed.flush()
    path.write_bytes(head + (15).to_bytes(4, "little") + len(body).to_bytes(4, "little") + body)


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda path: path.write_bytes(b"\x89HDF\r\n\x1a\n"), "not a MATLAB file of version 5 to 7.2"),
        (
            lambda path: path.write_bytes(b"MATLAB 7.3 MAT-file, Platform: GLNXA64"),
            "version 7.3; save it again with -v7",
        ),
        (lambda path: path.write_bytes(path.read_bytes()[:-9]), "a damaged MATLAB file (ends early)"),
        (lambda path: scipy.io.savemat(path, {"GTinst": {"Segmentation": 1}}), "a.mat: holds 'GTinst'; wanted GTcls"),
        (lambda path: scipy.io.savemat(path, {"GTcls": np.eye(3)}), "GTcls: wanted a structure with Segmentation"),
        (lambda path: write(path, "cat"), "GTcls.Segmentation: wanted a matrix of labels"),
        (lambda path: write(path, np.full(SIZE, 0.5)), "GTcls.Segmentation: wanted a matrix of labels"),
        (lambda path: write(path, np.full(SIZE, 21)), "GTcls: holds label value 21, which is no class"),
        (lambda path: write(path, np.zeros((9, 12))), "labels 12x9 pixels, its image a has 9x12"),
        (_bomb, "takes more than 256 MiB once unpacked"),
        (
            lambda path: path.with_suffix(".mat.off").write_bytes(path.read_bytes()) and path.unlink(),
            "holds no .mat file",
        ),
    ],
)
def test_a_foreign_mat_file_is_one_line(tmp_path: Path, photo: Any, refused: Any, make: Any, line: str) -> None:
    photo(tmp_path / "src" / "img" / "a.jpg", SIZE)
    write(tmp_path / "src" / "cls" / "a.mat", np.zeros(SIZE))
    make(tmp_path / "src" / "cls" / "a.mat")
    assert line in refused(tmp_path / "src", "sbd")
