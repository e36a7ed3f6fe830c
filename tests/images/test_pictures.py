import io
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import Image

from densefield.checks import InputError
from densefield.classes import ClassList
from densefield.images import read_image, read_labels, write_image, write_labels, write_labels_like

CLASSES = ClassList(
    ("road", "tree", "car"),
    ((128, 64, 128), (0, 128, 0), (64, 0, 128)),
    ignore_declared=True,
    ignore_colors=((0, 0, 0),),
)


def noise(height=5, width=7, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def png(width, height, depth, color_type, rows):
    """A PNG file written by hand, chunk by chunk."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.bmp", "a.webp"])
def test_lossless_formats_come_back_exactly(tmp_path, name):
    image = noise()
    Image.fromarray(image).save(tmp_path / name, **({"lossless": True} if name == "a.webp" else {}))
    assert np.array_equal(read_image(tmp_path / name), image)


@pytest.mark.parametrize("suffix", ["jpg", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path, orientation, suffix):
    # What each value means, by its definition: row 0 and column 0 of the file lie at these sides of the scene.
    to_scene = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, -1),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: np.rot90(a, 1),
    }
    stored = np.zeros((16, 32, 3), np.uint8)
    stored[:8, :8], stored[:8, 24:], stored[8:, :8] = 255, 140, 70
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"turned.{suffix}"
    Image.fromarray(stored).save(path, exif=exif, **({"quality": 100} if suffix == "jpg" else {}))
    read, wanted = read_image(path), to_scene[orientation](stored)
    assert read.shape == wanted.shape
    assert np.abs(read.astype(int) - wanted.astype(int)).max() <= 4


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_exif_orientation_of_grey_pictures(tmp_path, dtype, suffix):
    step = 257 if dtype is np.uint16 else 1
    stored = 40 * step * np.arange(6, dtype=dtype).reshape(2, 3)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(stored).save(tmp_path / f"turned.{suffix}", exif=exif)
    wanted = 40 * np.array([[3, 0], [4, 1], [5, 2]])
    assert read_image(tmp_path / f"turned.{suffix}")[..., 0].tolist() == wanted.tolist()
    assert read_labels(tmp_path / f"turned.{suffix}").tolist() == (step * wanted).tolist()


def test_broken_exif_does_not_spoil_the_pixels():
    file = io.BytesIO()
    Image.fromarray(noise()).save(file, format="PNG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\x01\x12")
    assert np.array_equal(read_image(io.BytesIO(file.getvalue())), noise())


def test_not_a_number_is_named(tmp_path):
    Image.fromarray(np.array([[0.0, np.nan]], np.float32)).save(tmp_path / "nan.tif")
    with pytest.raises(InputError, match=r"nan\.tif.*NaN"):
        read_image(tmp_path / "nan.tif")


def test_grey_palette_bilevel_and_alpha():
    def reread(picture):
        file = io.BytesIO()
        picture.save(file, format="PNG")
        return read_image(io.BytesIO(file.getvalue())).tolist()

    assert reread(Image.fromarray(np.array([[9, 200]], np.uint8))) == [[[9] * 3, [200] * 3]]
    assert reread(Image.fromarray(np.array([[True, False]]))) == [[[255] * 3, [0] * 3]]
    palette = Image.fromarray(np.array([[1, 0]], np.uint8)).convert("L")
    palette.putpalette([1, 2, 3, 4, 5, 6])
    assert reread(palette) == [[[4, 5, 6], [1, 2, 3]]]
    clear = np.array([[[10, 20, 30, 255], [10, 20, 30, 0]]], np.uint8)
    assert reread(Image.fromarray(clear)) == [[[10, 20, 30], [255, 255, 255]]]


def test_truncated_jpeg_is_named(tmp_path):
    path = tmp_path / "cut.jpg"
    Image.fromarray(noise(64, 64)).save(path)
    path.write_bytes(path.read_bytes()[:-600])
    with pytest.raises(InputError, match=r"cut\.jpg: not a whole picture .*replace or remove"):
        read_image(path)


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0"])
def test_no_pictures(tmp_path, content):
    path = tmp_path / "odd.png"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_image(path)
    assert "odd.png" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(InputError, match=r"gone\.png: no such file"):
        read_image(tmp_path / "gone.png")
    with pytest.raises(InputError, match="cannot be read"):
        read_image(tmp_path)


@pytest.mark.parametrize("read", [read_image, read_labels])
def test_png_bomb_is_refused_without_decoding(tmp_path, read):
    path = tmp_path / "bomb.png"
    # 50,000 x 50,000 pixels would be 2.5 GB; the body is short of that, which only a decoder would notice.
    path.write_bytes(png(50_000, 50_000, 8, 0, bytes(1_000_000)))
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match=r"bomb\.png.*million pixels"):
            read(path)
        assert tracemalloc.get_traced_memory()[1] < 20e6
    finally:
        tracemalloc.stop()


def test_palettes_are_not_expanded(tmp_path):
    labels = np.array([[0, 1, 2, 255]], np.uint8)
    write_labels(tmp_path / "mask.png", labels, CLASSES)
    assert read_labels(tmp_path / "mask.png").tolist() == labels.tolist()
    with Image.open(tmp_path / "mask.png") as picture:
        assert picture.mode == "P"
        colors = np.asarray(picture.convert("RGB"))
    assert colors.tolist() == [[[128, 64, 128], [0, 128, 0], [64, 0, 128], [0, 0, 0]]]


def test_wide_labels_keep_their_values(tmp_path):
    Image.fromarray(np.array([[3, 40_000]], np.uint16)).save(tmp_path / "wide.png")
    assert read_labels(tmp_path / "wide.png").tolist() == [[3, 40_000]]


def test_color_masks(tmp_path):
    path = tmp_path / "mask.png"
    write_image(path, np.array([[[0, 128, 0], [64, 0, 128]], [[0, 0, 0], [128, 64, 128]]], np.uint8))
    assert read_labels(path, CLASSES).tolist() == [[1, 2], [255, 0]]
    with pytest.raises(InputError, match=r"mask\.png.*class list"):
        read_labels(path)
    write_image(path, np.array([[[0, 128, 1]]], np.uint8))
    with pytest.raises(InputError, match=r"mask\.png.*color \[0, 128, 1\]"):
        read_labels(path, CLASSES)


def test_jpeg_masks_are_refused(tmp_path):
    Image.fromarray(noise()[..., 0]).save(tmp_path / "mask.jpg")
    with pytest.raises(InputError, match=r"mask\.jpg: a JPEG changes label values"):
        read_labels(tmp_path / "mask.jpg")


def test_write_image_round_trip_and_bad_arguments(tmp_path):
    write_image(tmp_path / "new" / "a.png", noise())
    assert np.array_equal(read_image(tmp_path / "new" / "a.png"), noise())
    with pytest.raises(InputError, match="image: wanted uint8"):
        write_image(tmp_path / "b.png", noise().astype(float))
    with pytest.raises(InputError, match="labels: wanted"):
        write_labels(tmp_path / "b.png", np.array([[300]]), CLASSES)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.png", "new"]


def test_labels_are_written_as_the_values_that_the_list_declares(tmp_path):
    cells = ClassList(("back", "cell"), ((1, 2, 3), (4, 5, 6)), values=(0, 255))
    write_labels(tmp_path / "m.png", np.array([[0, 1, 255]]), cells)
    with Image.open(tmp_path / "m.png") as picture:
        assert np.array(picture).tolist() == [[0, 255, 254]]
        colors = np.asarray(picture.convert("RGB")).tolist()
    assert colors == [[[1, 2, 3], [4, 5, 6], [224, 224, 192]]]
    write_image(tmp_path / "colors.png", np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8))
    assert read_labels(tmp_path / "colors.png", cells).tolist() == [[0, 255]]


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_grey_masks_of_few_bits_come_back_as_they_came(tmp_path, bits):
    values = np.arange(9, dtype=np.uint8) % 2**bits
    stretched = values * (255 // (2**bits - 1))
    text = "".join(f"{value:0{bits}b}" for value in values)
    rows = b"\0" + int(text + "0" * (-len(text) % 8), 2).to_bytes(-(-len(text) // 8), "big")
    (tmp_path / "mask.png").write_bytes(png(9, 1, bits, 0, rows))
    assert read_labels(tmp_path / "mask.png").tolist() == [values.tolist()]
    write_labels_like(tmp_path / "again.png", np.stack([values] * 3), tmp_path / "mask.png")
    assert read_labels(tmp_path / "again.png").tolist() == [values.tolist()] * 3
    with Image.open(tmp_path / "again.png") as again, Image.open(tmp_path / "mask.png") as mask:
        assert again.mode == mask.mode
        assert np.array(again.convert("L")).tolist() == [stretched.tolist()] * 3
    # A value that the mask's own bits cannot hold makes it a plain grey one.
    write_labels_like(tmp_path / "more.png", np.array([[2**bits]], np.uint8), tmp_path / "mask.png")
    assert read_labels(tmp_path / "more.png").tolist() == [[2**bits]]
