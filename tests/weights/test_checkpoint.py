from __future__ import annotations

import collections
import datetime
import os
import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from densefield.checks import InputError
from densefield.weights import read_checkpoint


def rewritten(source: Path, target: Path, *, pickled: Any = None, compression: int = zipfile.ZIP_STORED) -> Path:
    """A copy of a checkpoint with another description or compression."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", compression) as new:
        for entry in old.infolist():
            data = old.read(entry)
            if pickled is not None and entry.filename.endswith("data.pkl"):
                data = pickled(data)
            new.writestr(entry.filename, data)
    return target


def refused(path: Path, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_checkpoint(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_training_keeps_comes_back(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.rand(1, 3, 8, 8)).sum().backward()
    optimizer.step()
    state = {
        "network": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "parameter": nn.Parameter(torch.zeros(2)),
        "half": torch.ones(3, dtype=torch.bfloat16),
        "part": torch.arange(12.0).reshape(3, 4)[1:, ::2],
        "empty": torch.zeros(0, 3),
        "generator": torch.get_rng_state(),
        "ordered": collections.OrderedDict(a=1),
        "others": [1, 2.5, "text", None, True, (1, 2), {3}, torch.Size([1]), torch.float32, torch.device("cpu")],
    }
    torch.save(state, tmp_path / "a.ckpt")
    read = read_checkpoint(tmp_path / "a.ckpt")
    assert read["others"] == state["others"]
    for name in ("parameter", "half", "part", "empty", "generator"):
        assert torch.equal(read[name], state[name])
    nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).load_state_dict(read["network"])
    optimizer.load_state_dict(read["optimizer"])


class Runs:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("made-by-the-checkpoint",)


def test_nothing_in_the_file_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"a": Runs()}, tmp_path / "a.ckpt")
    refused(tmp_path / "a.ckpt", "posix.mkdir|nt.mkdir")
    assert not (tmp_path / "made-by-the-checkpoint").exists()
    torch.save({"a": datetime.date(2020, 1, 1)}, tmp_path / "a.ckpt")
    refused(tmp_path / "a.ckpt", "datetime.date, which is not plain data")


def test_a_kilobyte_that_claims_a_terabyte_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1).expand(10**6, 10**6)}, tmp_path / "a.ckpt")
    assert (tmp_path / "a.ckpt").stat().st_size < 2000
    refused(tmp_path / "a.ckpt", re.escape("shape (1000000, 1000000) over a storage of 1 elements"))


def test_a_storage_larger_than_its_record_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(3000)}, tmp_path / "a.ckpt")
    number = b"M" + (3000).to_bytes(2, "little")  # BININT2

    def enlarge(data: bytes) -> bytes:
        assert number in data
        return data.replace(number, b"J" + (2**31 - 1).to_bytes(4, "little"))

    refused(rewritten(tmp_path / "a.ckpt", tmp_path / "b.ckpt", pickled=enlarge), "but holds 12000 bytes; refused")


def test_a_memo_index_beyond_the_file_is_refused(tmp_path: Path) -> None:
    torch.save({"a": 1}, tmp_path / "a.ckpt")
    bomb = b"\x80\x02}r" + (2**31 - 1).to_bytes(4, "little") + b"."
    refused(rewritten(tmp_path / "a.ckpt", tmp_path / "b.ckpt", pickled=lambda _: bomb), "memo index of 2147483647")


def test_compressed_archives_are_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(10**6)}, tmp_path / "a.ckpt")
    small = rewritten(tmp_path / "a.ckpt", tmp_path / "b.ckpt", compression=zipfile.ZIP_DEFLATED)
    assert small.stat().st_size < 10**5
    refused(small, "compressed entry")


def test_tensors_of_other_kinds_are_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.eye(3).to_sparse()}, tmp_path / "a.ckpt")
    refused(tmp_path / "a.ckpt", "_rebuild_sparse_tensor")


def test_damaged_files_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    refused(path, "no such file")
    torch.save({"a": torch.zeros(100), "b": [1, 2, 3]}, path)
    whole = path.read_bytes()
    for length in range(0, len(whole), 97):
        path.write_bytes(whole[:length])
        refused(path, "cut short|damaged")
    path.write_bytes(pickle.dumps({"a": 1}))
    refused(path, "not a checkpoint written by torch.save")
    torch.save({"a": 1}, path)
    path.write_bytes(b"\x80\x02\x8b" + path.read_bytes())  # torch goes by the first bytes, not by the archive's end
    refused(path, "not a checkpoint written by torch.save")


def test_flipped_bytes_never_raise_anything_else(tmp_path: Path) -> None:
    path = tmp_path / "a.ckpt"
    torch.save({"a": torch.zeros(4), "b": [1, 2, 3]}, path)
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        try:
            read_checkpoint(path)
        except InputError as error:
            assert "\n" not in str(error)  # noqa: PT017


def old(state: Any, path: Path) -> Path:
    torch.save(state, path, _use_new_zipfile_serialization=False)
    return path


def changed(path: Path, before: bytes, after: bytes) -> Path:
    data = path.read_bytes()
    assert data.count(before) >= 1
    path.write_bytes(data.replace(before, after))
    return path


def test_the_old_format_comes_back(tmp_path: Path) -> None:
    whole = torch.arange(12.0).reshape(3, 4)
    state = {
        "part": whole[1:, ::2],
        "whole": whole,  # the same storage
        "parameter": nn.Parameter(torch.rand(2)),
        "half": torch.ones(3, dtype=torch.float16),
        "count": torch.tensor(7),
        "empty": torch.zeros(0, 3),
        "network": nn.BatchNorm2d(4).state_dict(),
        "names": ["a", "b"],
    }
    path = old(state, tmp_path / "a.pth")
    assert path.read_bytes().startswith(bytes.fromhex("80028a0a6cfc9c46f920"))
    read = read_checkpoint(path)
    assert read["names"] == ["a", "b"]
    for name in ("part", "whole", "parameter", "half", "count", "empty"):
        assert torch.equal(read[name], state[name])
    assert torch.equal(read["network"]["running_var"], torch.ones(4))


def test_parts_of_storages_as_the_first_versions_wrote_them(tmp_path: Path) -> None:
    path = old({"a": torch.arange(6.0)}, tmp_path / "a.pth")
    changed(path, b"K\x06Nt", b"K\x06X\x01\x00\x00\x00vK\x02K\x04\x87t")  # in place of None: "v", from 2 on 4
    changed(path, b"K\x00K\x06\x85", b"K\x00K\x04\x85")  # the tensor's own offset and shape
    assert read_checkpoint(path)["a"].tolist() == [2, 3, 4, 5]
    refused(changed(path, b"K\x02K\x04\x87t", b"K\x03K\x04\x87t"), "a part of a storage that is described wrongly")


def test_an_old_file_that_claims_gigabytes_is_refused_before_torch_sees_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = old({"a": torch.zeros(3000)[:2]}, tmp_path / "a.pth")
    path.write_bytes(path.read_bytes()[:-11900])
    number = b"M" + (3000).to_bytes(2, "little")  # BININT2
    changed(path, number, b"J" + (2**31 - 1).to_bytes(4, "little"))
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("torch has seen it"))
    assert path.stat().st_size < 500
    refused(path, "claims 2147483647 elements of 4 bytes, but is not held")
    # Even where the count behind the pickles says the same.
    changed(path, (3000).to_bytes(8, "little"), (2**31 - 1).to_bytes(8, "little"))
    refused(path, "claims 2147483647 elements of 4 bytes, but is not held")
    refused(old({"a": torch.zeros(1).expand(10**6, 10**6)}, path), "over a storage of 1 elements")


def test_nothing_in_an_old_file_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    refused(old({"a": Runs()}, tmp_path / "a.pth"), "posix.mkdir|nt.mkdir")
    assert not (tmp_path / "made-by-the-checkpoint").exists()
    path = old({"a": 1}, tmp_path / "b.pth")
    keys = b"\x80\x02]q\x00."
    changed(path, keys, keys.replace(b"]q\x00", b"]X\x01\x00\x00\x00aa"))
    refused(path, "its storages are not those of its tensors")


def test_damaged_old_files_are_one_line(tmp_path: Path) -> None:
    whole = old({"a": torch.zeros(40), "b": [1, 2, 3]}, tmp_path / "a.pth").read_bytes()
    path = tmp_path / "b.pth"
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        refused(path, "cut short|damaged|refused")
    for place in range(0, len(whole), 3):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x55]) + whole[place + 1 :])
        try:
            read_checkpoint(path)
        except InputError as error:
            assert "\n" not in str(error)  # noqa: PT017
