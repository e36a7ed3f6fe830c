"""Bands and types: what the file declares, what a reading says, and a refusal for what would be a guess."""

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from densefield.checks import InputError
from densefield.images import Reading, read_image


def png16(values):
    """A PNG of 16 bits a channel, (H, W) or (H, W, C), written by hand."""
    values = np.asarray(values, np.uint16)
    height, width = values.shape[:2]
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[values.size // (height * width)]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)

    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0)
    return io.BytesIO(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )


def wide(tmp_path, suffix, values):
    if suffix == "png":
        return png16(values)
    tifffile.imwrite(tmp_path / "wide.tif", np.asarray(values, np.uint16), photometric="minisblack")
    return tmp_path / "wide.tif"


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_grey_is_ranged_by_its_type(tmp_path, suffix):
    assert read_image(wide(tmp_path, suffix, [[0, 32768, 65535]]))[0, :, 0].tolist() == [0, 128, 255]
    assert read_image(wide(tmp_path, suffix, [[0, 0]])).tolist() == [[[0] * 3] * 2]
    # Twelve bits that the file does not declare are refused, not guessed at, and read when a person says so.
    twelve = wide(tmp_path, suffix, [[0, 2048, 4095]])
    with pytest.raises(
        InputError, match=r"uint16 values from 0 to 4095.*dark.*--range 0,4095 .*data\.range: \[0, 4095\]"
    ):
        read_image(twelve)
    twelve = wide(tmp_path, suffix, [[0, 2048, 4095]])
    assert read_image(twelve, Reading(range=(0, 4095)))[0, :, 0].tolist() == [0, 128, 255]
    twelve = wide(tmp_path, suffix, [[0, 2048, 4095]])
    assert read_image(twelve, Reading(range=(0, 65535)))[0, :, 0].tolist() == [0, 8, 16]


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_color_keeps_to_the_same_rule(tmp_path, suffix):
    pixels = np.array([[[65535, 32768, 0], [257, 514, 1028]]], np.uint16)
    if suffix == "tif":
        tifffile.imwrite(tmp_path / "wide.tif", pixels, photometric="rgb")
    source = tmp_path / "wide.tif" if suffix == "tif" else png16(pixels)
    assert read_image(source).tolist() == [[[255, 128, 0], [1, 2, 4]]]
    eleven = np.array([[[2047, 1024, 0], [8, 16, 24]]], np.uint16)
    if suffix == "tif":
        tifffile.imwrite(tmp_path / "wide.tif", eleven, photometric="rgb")
    source = tmp_path / "wide.tif" if suffix == "tif" else png16(eleven)
    with pytest.raises(InputError, match="--range 0,2047"):
        read_image(source)
    source = tmp_path / "wide.tif" if suffix == "tif" else png16(eleven)
    assert read_image(source, Reading(range=(0, 2047))).tolist() == [[[255, 128, 0], [1, 2, 3]]]


def test_16_bit_transparency_is_laid_on_white():
    assert read_image(png16([[[65535, 0, 0, 65535], [0, 0, 0, 0]]])).tolist() == [[[255, 0, 0], [255, 255, 255]]]


def test_a_declared_depth_is_taken(tmp_path):
    # Twelve bits a sample, packed, most significant first: 0, 2048, 4095, 0.
    tags = {256: 4, 257: 1, 258: 12, 259: 1, 262: 1, 273: 0, 277: 1, 278: 1, 279: 6}
    body = bytes([0x00, 0x08, 0x00, 0xFF, 0xF0, 0x00])
    tags[273] = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in sorted(tags.items()))
    file = b"II*\0" + struct.pack("<IH", 8, len(tags)) + entries + b"\0\0\0\0" + body
    assert read_image(io.BytesIO(file))[0, :, 0].tolist() == [0, 128, 255, 0]
    assert read_image(io.BytesIO(b"P2 3 1 1000 0 500 1000\n"))[0, :, 0].tolist() == [0, 128, 255]


@pytest.mark.parametrize("photometric", ["miniswhite", "minisblack"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_greys_whose_file_says_that_zero_is_white(tmp_path, photometric, dtype):
    top = np.iinfo(dtype).max
    tifffile.imwrite(tmp_path / "a.tif", np.array([[0, top]], dtype), photometric=photometric)
    assert read_image(tmp_path / "a.tif")[0, :, 0].tolist() == ([255, 0] if photometric == "miniswhite" else [0, 255])


def test_floats_within_0_and_1(tmp_path):
    tifffile.imwrite(tmp_path / "f.tif", np.array([[0, 0.5, 1]], np.float32), photometric="minisblack")
    assert read_image(tmp_path / "f.tif")[0, :, 0].tolist() == [0, 128, 255]
    colors = np.array([[[0, 0.5, 1]]], np.float32)
    tifffile.imwrite(tmp_path / "f.tif", colors, photometric="rgb")
    assert read_image(tmp_path / "f.tif").tolist() == [[[0, 128, 255]]]


@pytest.mark.parametrize("dtype", [np.float32, np.int16, np.int32, np.uint32])
def test_types_that_declare_no_range_need_one(tmp_path, dtype):
    values = np.array([[-1000, 0, 3000]] if np.dtype(dtype).kind != "u" else [[1000, 2000, 5000]], dtype)
    tifffile.imwrite(tmp_path / "ct.tif", values, photometric="minisblack")
    with pytest.raises(
        InputError,
        match=r"ct\.tif: holds .*(int32|float32|int16) values from .* nothing says which are black and white",
    ):
        read_image(tmp_path / "ct.tif")
    low, high = float(values.min()), float(values.max())
    wanted = np.rint((values - low) / (high - low) * 255).astype(int)
    assert read_image(tmp_path / "ct.tif", Reading(range=(low, high)))[..., 0].tolist() == wanted.tolist()
    # What lies outside is black or white.
    assert read_image(tmp_path / "ct.tif", Reading(range=(low + 1, high - 1)))[0, [0, 2], 0].tolist() == [0, 255]


BANDS = np.arange(5 * 6, dtype=np.uint8).reshape(2, 3, 5) * 8


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("count", [2, 4, 5])
def test_bands_are_chosen_by_number(tmp_path, count, planar, dtype):
    step = 257 if dtype == np.uint16 else 1
    values = BANDS[..., :count].astype(dtype) * step
    given = values if planar == "contig" else np.moveaxis(values, -1, 0)
    tifffile.imwrite(tmp_path / "b.tif", given, photometric="minisblack", planarconfig=planar)
    with pytest.raises(
        InputError, match=rf"b\.tif: holds {count} bands of {np.dtype(dtype)}; say which are red.*--bands"
    ):
        read_image(tmp_path / "b.tif")
    chosen = (count, 1, 2)
    wanted = BANDS[..., [count - 1, 0, 1]]
    assert np.array_equal(read_image(tmp_path / "b.tif", Reading(bands=chosen)), wanted)
    grey = read_image(tmp_path / "b.tif", Reading(bands=(2,)))
    assert np.array_equal(grey, BANDS[..., [1, 1, 1]])
    with pytest.raises(InputError, match=rf"wanted numbers from 1 to {count}, received \(1, 2, 9\)"):
        read_image(tmp_path / "b.tif", Reading(bands=(1, 2, 9)))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_infrared_is_not_taken_for_transparency(tmp_path, dtype):
    top = np.iinfo(dtype).max
    values = np.full((2, 2, 4), top // 2 + 1, dtype)
    # Many programs declare a fourth band as transparency, whatever it is.
    tifffile.imwrite(tmp_path / "n.tif", values, photometric="rgb", extrasamples=["unassalpha"])
    with pytest.raises(InputError, match=r"4 bands of uint.*declared as transparency.*say which are red"):
        read_image(tmp_path / "n.tif")
    assert (read_image(tmp_path / "n.tif", Reading(bands=(1, 2, 3))) == 128).all()
    values[..., 3] = [[0, top], [top, 0]]
    tifffile.imwrite(tmp_path / "n.tif", values, photometric="rgb", extrasamples=["unassalpha"])
    assert read_image(tmp_path / "n.tif")[..., 0].tolist() == [[255, 128], [128, 255]]
    tifffile.imwrite(tmp_path / "n.tif", values, photometric="rgb", extrasamples=["unspecified"])
    with pytest.raises(InputError, match="4 bands of uint"):
        read_image(tmp_path / "n.tif")


def test_bands_of_plain_pictures_too():
    file = io.BytesIO()
    Image.fromarray(np.array([[[1, 2, 3, 4]]], np.uint8)).save(file, format="PNG")
    assert read_image(io.BytesIO(file.getvalue()), Reading(bands=(4, 3, 2))).tolist() == [[[4, 3, 2]]]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_numbers_are_turned_as_pictures_are(tmp_path, orientation):
    values = np.arange(2 * 3 * 3, dtype=np.uint16).reshape(2, 3, 3)
    tags = [(274, "H", 1, orientation, True)]
    tifffile.imwrite(tmp_path / "16.tif", values * 3855, photometric="rgb", extratags=tags)
    tifffile.imwrite(tmp_path / "8.tif", (values * 15).astype(np.uint8), photometric="rgb", extratags=tags)
    assert np.array_equal(read_image(tmp_path / "16.tif"), read_image(tmp_path / "8.tif"))


def test_words_and_wrong_numbers():
    assert Reading.of_words("4,3,2", "0,4095") == Reading((4, 3, 2), (0.0, 4095.0))
    assert Reading.of_words() == Reading()
    assert Reading(bands=(1,)).over(Reading((4, 3, 2), (0, 1))) == Reading((1,), (0, 1))
    for words in (("4,x", None), ("4,3", None), ("0,1,2", None), (None, "5"), (None, "5,1"), (None, "0,nan")):
        with pytest.raises(InputError, match="wanted"):
            Reading.of_words(*words)


def test_lzw_packed_colors_of_16_bits(tmp_path):
    pixels = np.random.default_rng(3).integers(0, 65536, (5, 7, 3), np.uint16)
    _, encoded = cv2.imencode(".tif", np.ascontiguousarray(pixels[..., ::-1]), [cv2.IMWRITE_TIFF_COMPRESSION, 5])
    assert tifffile.TiffFile(io.BytesIO(encoded.tobytes())).pages[0].compression == 5
    wanted = np.rint(pixels / 257).astype(np.uint8)
    assert np.array_equal(read_image(io.BytesIO(encoded.tobytes())), wanted)
