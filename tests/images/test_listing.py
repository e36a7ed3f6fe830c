"""One rule for what is a picture: endings, pages, links, and what is left out is counted."""

import io
import os
import struct

import numpy as np
import pytest
import tifffile
from PIL import Image

from densefield.checks import InputError
from densefield.images import read_image, read_labels
from densefield.images.listing import Picture, list_pictures, picture_endings, pictures_of


def put(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (2, 2)).save(path)


def names(listing):
    return [listing.name(picture) for picture in listing.pictures]


def test_what_is_no_picture_is_counted(tmp_path):
    put(tmp_path / "a.jpg", tmp_path / "UP.PNG", tmp_path / "b.jfif", tmp_path / "sub" / "n.jpg")
    for name in (
        "x.HEIC",
        "y.heic",
        "report.pdf",
        "clip.mpg",
        "data.h5",
        "draw.eps",
        "a.{odd}x",
        "README",
        ".DS_Store",
    ):
        (tmp_path / name).write_bytes(b"junk")
    (tmp_path / "._a.jpg").write_bytes(b"junk")
    (tmp_path / "dir.jpg").mkdir()
    (tmp_path / ".cache").mkdir()
    listing = list_pictures(tmp_path)
    assert names(listing) == ["UP", "a", "b"]
    assert listing.left_out() == (
        "1 .eps file, 1 .h5 file, 2 .heic files, 1 .mpg file, 1 .pdf file, 1 .{odd}x file, 1 file without ending, "
        "2 hidden files, 1 hidden folder, 2 sub-folders"
    )
    assert names(list_pictures(tmp_path, deep=True)) == ["UP", "a", "b", "sub/n"]


def test_a_folder_without_pictures_says_what_it_holds(tmp_path):
    (tmp_path / "x.HEIC").write_bytes(b"x")
    with pytest.raises(InputError, match=r"holds no picture, only 1 \.heic file; wanted images as PNG"):
        list_pictures(tmp_path)
    with pytest.raises(InputError, match=r"below .*, where the command was started"):
        list_pictures("no-such-folder-here")


def test_links_are_followed_once_and_dead_ones_are_named_when_read(tmp_path):
    put(tmp_path / "data" / "a.png", tmp_path / "data" / "z" / "b.png", tmp_path / "elsewhere" / "c.png")
    (tmp_path / "data" / "more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data" / "again").symlink_to(tmp_path / "data" / "z")
    (tmp_path / "data" / "z" / "loop").symlink_to(tmp_path / "data")
    (tmp_path / "data" / "dead.png").symlink_to(tmp_path / "nowhere.png")
    listing = list_pictures(tmp_path / "data", deep=True)
    assert names(listing) == ["a", "dead", "more/c", "z/b"]
    assert listing.left_out() == "2 links to a folder listed already"
    with pytest.raises(InputError, match=r"dead\.png: no such file"):
        read_image(listing.pictures[1])


def test_an_unreadable_folder_is_told(tmp_path, monkeypatch):
    put(tmp_path / "a.png", tmp_path / "locked" / "b.png")
    scan = os.scandir

    def locked(path):
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", locked)
    listing = list_pictures(tmp_path, deep=True)
    assert (names(listing), listing.unreadable) == (["a"], (tmp_path / "locked",))
    with pytest.raises(InputError, match="locked: cannot be read"):
        list_pictures(tmp_path / "locked")


@pytest.mark.parametrize("options", [{}, {"bigtiff": True}, {"byteorder": ">"}])
def test_each_page_of_a_stack_is_a_picture(tmp_path, options):
    stack = np.arange(12, dtype=np.uint8)[:, None, None] + np.zeros((12, 3, 4), np.uint8)
    tifffile.imwrite(tmp_path / "scan.tif", stack, photometric="minisblack", **options)
    pages = pictures_of(tmp_path / "scan.tif")
    assert [page.stem for page in pages] == [f"scan.{number:04}" for number in range(1, 13)]
    assert str(pages[6]).endswith("scan.tif, page 7")
    for value, page in enumerate(pages):
        assert (read_image(page) == value).all()
        assert (read_labels(page) == value).all()


def test_smaller_copies_inside_a_file_are_no_pages(tmp_path):
    with tifffile.TiffWriter(tmp_path / "pyramid.tif") as writer:
        writer.write(np.zeros((8, 8), np.uint8), photometric="minisblack")
        writer.write(np.zeros((4, 4), np.uint8), photometric="minisblack", subfiletype=1)
    assert pictures_of(tmp_path / "pyramid.tif") == [Picture(tmp_path / "pyramid.tif")]


def test_chains_without_end_and_cut_files_are_single_pictures(tmp_path):
    loop = b"II*\0" + struct.pack("<I", 8) + struct.pack("<HI", 0, 8)
    (tmp_path / "loop.tif").write_bytes(loop)
    (tmp_path / "cut.tif").write_bytes(loop[:9])
    (tmp_path / "other.tif").write_bytes(b"no picture")
    for name in ("loop", "cut", "other"):
        assert pictures_of(tmp_path / f"{name}.tif") == [Picture(tmp_path / f"{name}.tif")]


def test_frames_of_an_animation_are_said(tmp_path):
    frames = [Image.new("L", (3, 3), value) for value in (0, 100, 200)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert list_pictures(tmp_path).left_out() == "1 animation after the first frame"


def test_every_ending_stands_for_a_decoder():
    endings = picture_endings()
    assert {".png", ".jpg", ".tif", ".tiff", ".bmp", ".webp", ".gif"} <= endings
    assert not endings & {".pdf", ".eps", ".mpg", ".h5", ".wmf"}
    file = io.BytesIO()
    Image.new("L", (1, 1)).save(file, format="PNG")
    assert read_image(io.BytesIO(file.getvalue())).shape == (1, 1, 3)
