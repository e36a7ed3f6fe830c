"""MATLAB files against scipy's writer: what data sets hold is read to the bit, the rest is left alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import scipy.sparse

from densefield.checks import InputError
from densefield.data.imports.mat_files import read_mat
from drawing import seeded


@pytest.fixture(params=[False, True], ids=["plain", "packed"])
def read(tmp_path: Path, request: pytest.FixtureRequest) -> Any:
    """Writes a value with scipy, plain or packed, among others, and reads it."""

    def written(value: Any) -> Any:
        path = tmp_path / "a.mat"
        scipy.io.savemat(path, {"before": "x", "wanted": value, "behind": 1}, do_compression=request.param)
        return read_mat(path, "wanted")

    return written


@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8", "?"])
@pytest.mark.parametrize("shape", [(1, 1), (2, 1), (7, 5)])
def test_matrices_of_every_type(read: Any, kind: str, shape: tuple[int, int]) -> None:
    matrix = np.random.default_rng(seeded(9)).integers(0, 100, shape).astype(kind)
    assert np.array_equal(read(matrix), matrix)


def test_text_structures_and_cells(read: Any) -> None:
    assert read("café") == "café"
    cell = np.empty((1, 2), object)
    cell[0, 0], cell[0, 1] = np.eye(2), "two"
    found = read(cell)
    assert np.array_equal(found[0], np.eye(2))
    assert found[1] == "two"
    parts = np.zeros((1, 2), [("part_name", object), ("mask", object)])
    parts[0, 0], parts[0, 1] = ("head", np.eye(3, 4)), ("lhand", np.zeros((0, 0)))
    found = read({"parts": parts, "a_name_of_quite_a_few_letters": 4})
    assert [part["part_name"] for part in found[0]["parts"]] == ["head", "lhand"]
    assert np.array_equal(found[0]["parts"][0]["mask"], np.eye(3, 4))
    assert found[0]["parts"][1]["mask"].size == 0
    assert found[0]["a_name_of_quite_a_few_letters"].tolist() == [[4]]


def test_what_data_sets_do_not_need_is_none(read: Any) -> None:
    assert read(scipy.sparse.csc_matrix(np.eye(3))) is None
    assert read(np.array([[1j]])) is None


def test_big_endian_files_of_old_workstations(tmp_path: Path) -> None:
    def element(kind: int, data: bytes) -> bytes:
        return kind.to_bytes(4, "big") + len(data).to_bytes(4, "big") + data + bytes(-len(data) % 8)

    def words(*numbers: int) -> bytes:
        return b"".join(number.to_bytes(4, "big") for number in numbers)

    matrix = element(6, words(11, 0)) + element(5, words(2, 3)) + element(1, b"wanted")  # 11: uint16
    matrix += element(4, np.arange(6).astype(">u2").tobytes())
    head = b"MATLAB 5.0 MAT-file".ljust(124) + b"\x01\x00MI"
    (tmp_path / "a.mat").write_bytes(head + element(14, matrix))
    assert read_mat(tmp_path / "a.mat", "wanted").tolist() == [[0, 2, 4], [1, 3, 5]]


def test_a_variable_that_is_not_there_is_told(read: Any, tmp_path: Path) -> None:
    read(1)
    with pytest.raises(InputError, match=r"a\.mat: holds 'before', 'wanted', 'behind'; wanted other"):
        read_mat(tmp_path / "a.mat", "other")
