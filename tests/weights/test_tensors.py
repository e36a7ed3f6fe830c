from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import pytest
import torch

from densefield.checks import InputError
from densefield.weights import check_fit, read_tensors, write_tensors

TENSORS = {"weight": torch.arange(6.0).reshape(2, 3).t(), "steps": torch.tensor(7)}


def test_tensors_and_header_come_back(tmp_path: Path) -> None:
    shared = {**TENSORS, "again": TENSORS["weight"]}
    write_tensors(tmp_path / "a.safetensors", shared, {"words": "ä"})
    tensors, header = read_tensors(tmp_path / "a.safetensors")
    assert header == {"words": "ä"}
    assert tensors.keys() == shared.keys()
    for name, tensor in shared.items():
        assert torch.equal(tensors[name], tensor)


def test_the_file_is_laid_out_as_the_format_says(tmp_path: Path) -> None:
    write_tensors(tmp_path / "a.safetensors", {"x": torch.tensor([1.0, -2.0])})
    data = (tmp_path / "a.safetensors").read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    entry = json.loads(data[8 : 8 + length])["x"]
    begin, end = entry["data_offsets"]
    assert (entry["dtype"], entry["shape"]) == ("F32", [2])
    assert struct.unpack("<2f", data[8 + length + begin : 8 + length + end]) == (1.0, -2.0)


def test_half_precision_only_where_it_holds_the_values(tmp_path: Path) -> None:
    tensors = {"small": torch.tensor([0.1]), "large": torch.tensor([1e6]), "steps": torch.tensor(7)}
    write_tensors(tmp_path / "a.safetensors", tensors, dtype=torch.float16)
    read, _ = read_tensors(tmp_path / "a.safetensors")
    assert {name: tensor.dtype for name, tensor in read.items()} == {
        "small": torch.float16,
        "large": torch.float32,
        "steps": torch.int64,
    }


def test_every_truncation_is_one_line_that_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_tensors(path, TENSORS)
    data = path.read_bytes()
    for length in range(len(data)):
        path.write_bytes(data[:length])
        with pytest.raises(InputError, match=r"a\.safetensors: not a readable") as caught:
            read_tensors(path)
        assert "\n" not in str(caught.value)


def test_a_header_that_claims_terabytes_is_refused(tmp_path: Path) -> None:
    header = json.dumps({"x": {"dtype": "F32", "shape": [10**6, 10**6], "data_offsets": [0, 4 * 10**12]}}).encode()
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(InputError, match="not a readable safetensors file"):
        read_tensors(path)


def test_missing_files_and_nan_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.safetensors: no such file"):
        read_tensors(tmp_path / "none.safetensors")
    write_tensors(tmp_path / "a.safetensors", {"weight": torch.tensor([1.0, float("nan")])})
    with pytest.raises(InputError, match="tensor weight holds NaN"):
        read_tensors(tmp_path / "a.safetensors")


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.safetensors"
    write_tensors(path, TENSORS)
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"could not be written .*No space left"):
        write_tensors(path, {"other": torch.zeros(1)})
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]


@pytest.mark.parametrize(
    ("received", "message"),
    [
        ({"weight": torch.zeros(3, 2)}, "misses 1 tensors of its network, first steps"),
        ({**TENSORS, "more": torch.zeros(1)}, "holds 1 tensors its network lacks, first more"),
        ({**TENSORS, "weight": torch.zeros(2, 3)}, r"tensor weight: wanted shape \(3, 2\), received \(2, 3\)"),
    ],
)
def test_what_does_not_fit_is_named(received: dict[str, torch.Tensor], message: str) -> None:
    check_fit(TENSORS, TENSORS, "a.safetensors")
    with pytest.raises(InputError, match=f"a.safetensors: {message}"):
        check_fit(TENSORS, received, "a.safetensors")
