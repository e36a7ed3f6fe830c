from __future__ import annotations

import errno
import os
import pickle
import stat
from pathlib import Path

import pytest

from densefield.checks import InputError
from densefield.files import Unwritable, atomic_write


def test_a_file_appears_whole_in_a_folder_made_for_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "file"
    with atomic_write(path) as file:
        file.write(b"all of it")
        assert not path.exists()
    assert path.read_bytes() == b"all of it"
    assert [entry.name for entry in path.parent.iterdir()] == ["file"]


def test_the_file_has_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    with atomic_write(tmp_path / "atomic"):
        pass
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "atomic")}
    assert len(modes) == 1


def test_an_error_inside_keeps_what_stood_there(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def write_half() -> None:
        with atomic_write(path) as file:
            file.write(b"half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write_half()
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_full_disk_is_one_line_that_names_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    message = r"file: could not be written \(No space left on device\)"
    with pytest.raises(InputError, match=message), atomic_write(tmp_path / "file") as file:
        file.write(b"x")
    assert list(tmp_path.iterdir()) == []


def test_a_name_may_be_as_long_as_names_can_be(tmp_path: Path) -> None:
    for name in ("x" * 255, "写" * 85):
        with atomic_write(tmp_path / name) as file:
            file.write(b"x")
        assert (tmp_path / name).read_bytes() == b"x"


def test_a_name_that_is_too_long_is_told_apart_from_a_place_that_is_full(tmp_path: Path) -> None:
    with pytest.raises(Unwritable, match="rename the input") as caught, atomic_write(tmp_path / ("x" * 256)):
        pass
    assert caught.value.for_its_name
    copy = pickle.loads(pickle.dumps(caught.value))  # as it comes from a worker process
    assert (str(copy), copy.for_its_name) == (str(caught.value), True)


def test_a_file_where_a_folder_is_wanted_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="could not be written"), atomic_write(tmp_path / "file" / "below"):
        pass
