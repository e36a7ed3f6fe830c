from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from caffemodels import blob, caffemodel, layer, number, span, text, varint

from densefield.checks import InputError
from densefield.weights.caffe import read_caffemodel

WEIGHT = np.arange(24, dtype=np.float32).reshape(2, 3, 2, 2) / 7
BIAS = np.array([0.5, -1.0], np.float32)


def written(folder: Path, data: bytes) -> Path:
    path = folder / "a.caffemodel"
    path.write_bytes(data)
    return path


def refused(path: Path, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_caffemodel(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("age", [0, 1, 2])
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("double", [True, False])
@pytest.mark.parametrize("older", [True, False])
def test_layers_of_each_age_come_back(tmp_path: Path, age: int, packed: bool, double: bool, older: bool) -> None:
    blobs = [blob(each, packed=packed, double=double, older=older, diff=True) for each in (WEIGHT, BIAS)]
    layers = [layer("data", "Input", [], age=age), layer("conv1", "Convolution", blobs, age=age, reads="data")]
    read = read_caffemodel(written(tmp_path, caffemodel(*layers)))
    (found,) = read.layers  # the one with weights
    assert (found.name, found.kind, found.reads) == ("conv1", "Convolution", "data")
    np.testing.assert_array_equal(found.blobs[0], WEIGHT)
    np.testing.assert_array_equal(found.blobs[1].reshape(-1), BIAS)
    assert found.blobs[1].shape == ((1, 1, 1, 2) if older else (2,))
    read.release()
    np.testing.assert_array_equal(found.blobs[0], WEIGHT)  # read again from the file


def test_numbers_in_several_pieces_are_joined(tmp_path: Path) -> None:
    pieces = span(7, span(1, varint(3) + varint(2))) + b"".join(
        [
            span(5, np.float32([1, 2]).tobytes()),
            b"\x2d" + np.float32(3).tobytes(),
            span(5, np.float32([4, 5, 6]).tobytes()),
        ]
    )
    (found,) = read_caffemodel(written(tmp_path, caffemodel(layer("a", "Scale", [pieces])))).layers
    np.testing.assert_array_equal(found.blobs[0], [[1, 2], [3, 4], [5, 6]])


def test_shapes_are_read_packed_and_unpacked_and_default_to_what_is_held(tmp_path: Path) -> None:
    data = span(5, BIAS.tobytes())
    unpacked = span(7, number(1, 2) + number(1, 1)) + data
    (found,) = read_caffemodel(written(tmp_path, caffemodel(layer("a", "Scale", [unpacked, data])))).layers
    assert [each.shape for each in found.blobs] == [(2, 1), (2,)]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (text(1, "name alone"), "holds no layers with weights"),
        (b"\xff" * 11, "the number at byte 0 does not end"),
        (b"<!DOCTYPE html>\n<html>", "damaged"),
        (b"\x0b\x01", "begins no field"),  # a group
        (b"\x00\x01", "begins no field"),  # field 0
        (span(100, text(1, "a"))[:-1], "reaches 1 bytes beyond"),
        (span(100, span(7, b"\x2a\xff\xff\xff\x7f")), "bytes beyond"),  # numbers beyond the file
        (span(100, span(7, span(5, b"abc"))), "3 bytes of numbers of 4 bytes each"),
        (span(100, span(7, span(7, span(1, b"\x02")) + span(5, bytes(12)))), "claims the shape 2, but holds 3"),
        (span(100, span(7, number(1, 1) + span(5, bytes(12)))), "claims the shape 1×0×0×0"),
        (span(100, span(7, b"")), "holds 0 numbers"),
        (span(100, span(7, span(7, span(1, b"\x01" * 40)) + span(5, bytes(4)))), "more than 32 axes"),
        (span(100, span(7, span(5, bytes(4)) * 101)), "more than 100 pieces"),
        (span(100, text(1, "x" * 1001)), "a name of 1001 bytes"),
        (layer("a\n", "Scale", [blob(BIAS)]) * 2, "two layers with weights of one name"),
        (layer("a\n", "Scale", [b""]), r"layer 'a\?'"),
        (number(5, 1) * 300_001, "more than 300000 fields"),
    ],
)
def test_what_a_file_cannot_hold_is_one_line(tmp_path: Path, data: bytes, message: str) -> None:
    refused(written(tmp_path, data), message)


def test_a_shape_of_a_terabyte_is_refused(tmp_path: Path) -> None:
    claim = span(7, span(1, varint(10**6) * 2)) + span(5, bytes(4))
    refused(
        written(tmp_path, caffemodel(layer("fc6", "InnerProduct", [claim]))), "1000000×1000000, but holds 1 numbers"
    )


def test_layers_and_blobs_beyond_any_network_are_refused(tmp_path: Path) -> None:
    tiny = span(7, span(5, bytes(4)))
    refused(written(tmp_path, span(100, tiny) * 10_001), "more than 10000 layers")
    refused(written(tmp_path, span(100, tiny * 40_001)), "more than 40000 blobs")


def test_every_truncation_is_one_line(tmp_path: Path) -> None:
    whole = caffemodel(layer("conv1", "Convolution", [blob(WEIGHT), blob(BIAS, packed=False)]))
    path = tmp_path / "a.caffemodel"
    refused(path, "no such file")
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        refused(path, "a.caffemodel: ")
