"""Masks' values as their files hold them, and palettes and colors against the class list."""

import io

import numpy as np
import pytest
import tifffile
from PIL import Image

from densefield.checks import InputError
from densefield.classes import ClassList
from densefield.images import read_labels

COLORS = ((0, 0, 0), (0, 128, 0), (200, 0, 0))
CLASSES = ClassList(("back", "tree", "car"), COLORS)
IGNORING = ClassList(
    ("tree", "car"), ((0, 128, 0), (200, 0, 0)), ignore_declared=True, ignore_colors=((0, 0, 0),), ignore_index=9
)
VALUES = np.array([[0, 1, 2, 1]], np.uint8)


def saved(picture, format="PNG", **options):
    file = io.BytesIO()
    picture.save(file, format=format, **options)
    return io.BytesIO(file.getvalue())


def palette_mask(values, *colors):
    picture = Image.fromarray(np.array(values, np.uint8))
    picture.putpalette([part for color in colors for part in color])
    return saved(picture)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0), (2, 0, 1)])
def test_a_reordered_palette_is_read_by_color(order):
    # What an optimizer does: the same picture, its palette in another order.
    place = {value: at for at, value in enumerate(order)}
    moved = [[place[value] for value in VALUES[0].tolist()]]
    mask = palette_mask(moved, *(COLORS[value] for value in order))
    assert read_labels(mask, CLASSES).tolist() == VALUES.tolist()


def test_a_palette_of_white_and_black():
    two = ClassList(("back", "cell"), ((0, 0, 0), (255, 255, 255)))
    mask = palette_mask([[1, 0, 0]], (255, 255, 255), (0, 0, 0))
    assert read_labels(mask, two).tolist() == [[0, 1, 1]]


def test_a_palette_for_looking_at_says_nothing():
    voc = ((0, 0, 0), (128, 0, 0), (0, 128, 1))
    assert read_labels(palette_mask(VALUES, *voc), CLASSES).tolist() == VALUES.tolist()
    assert read_labels(palette_mask(VALUES, *reversed(COLORS))).tolist() == VALUES.tolist()  # no list, no colors
    # Black means "not labelled" in this list's color masks; here it is but the first color of a plain palette.
    assert read_labels(palette_mask([[0, 1]], (0, 0, 0), (128, 0, 0)), IGNORING).tolist() == [[0, 1]]


def test_a_palette_that_may_mean_either_is_refused():
    with pytest.raises(InputError, match=r"shows the value 1 in \[200, 0, 0\], which the class list gives to 2"):
        read_labels(palette_mask([[0, 1]], (9, 9, 9), (200, 0, 0)), CLASSES)
    with pytest.raises(InputError, match=r"shows the value 0 in \[0, 0, 0\], which the class list gives to 9"):
        read_labels(palette_mask([[0, 0]], (0, 0, 0)), IGNORING)


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_equal_channels_are_grey(mode):
    for values in (VALUES, VALUES * 100):
        mask = saved(Image.fromarray(values).convert(mode))
        assert read_labels(mask).tolist() == values.tolist()
        assert read_labels(mask, CLASSES).tolist() == values.tolist()
    # Greys that are the list's colors are colors.
    two = ClassList(("white", "black"), ((255, 255, 255), (0, 0, 0)))
    assert read_labels(saved(Image.fromarray(VALUES[:, :1]).convert(mode)), two).tolist() == [[1]]


def test_soft_colors_are_named_as_such():
    ramp = np.zeros((1, 40, 3), np.uint8)
    ramp[0, :, 1] = np.arange(40)
    with pytest.raises(InputError, match=r"color \[0, 1, 0\] and 38 others.*soft edges"):
        read_labels(saved(Image.fromarray(ramp)), CLASSES)


@pytest.mark.parametrize(
    ("values", "options"),
    [
        (VALUES, {"photometric": "miniswhite"}),
        (VALUES.astype(np.uint16) * 300, {"photometric": "miniswhite"}),
        (VALUES > 0, {"photometric": "miniswhite"}),
        (VALUES > 0, {}),
        (VALUES.astype(np.int8) - 1, {}),
        (VALUES.astype(np.int16) - 1, {}),
        (VALUES.astype(np.int32), {}),
        (VALUES.astype(np.int64), {}),
        (VALUES.astype(">u2"), {"byteorder": ">"}),
        (np.repeat(VALUES[..., None].astype(np.uint16), 3, 2), {"photometric": "rgb"}),
    ],
)
def test_values_of_tiff_masks_as_the_file_holds_them(values, options):
    file = io.BytesIO()
    tifffile.imwrite(file, values, **{"photometric": "minisblack", **options})
    wanted = values[..., 0] if values.ndim == 3 else values
    assert read_labels(io.BytesIO(file.getvalue())).tolist() == wanted.astype(int).tolist()


def test_bilevel_fax():
    file = saved(Image.fromarray(VALUES > 0), format="TIFF", compression="group4")
    assert read_labels(file).tolist() == [[0, 1, 1, 1]]


def test_grey_values_below_a_declared_maximum():
    assert read_labels(io.BytesIO(b"P2 4 1 20 0 1 20 7\n")).tolist() == [[0, 1, 20, 7]]
    assert read_labels(io.BytesIO(b"P2 3 1 300 0 1 300\n")).tolist() == [[0, 1, 300]]


@pytest.mark.parametrize(
    ("format", "options"), [("TIFF", {"compression": "jpeg"}), ("WEBP", {"quality": 80}), ("JPEG", {})]
)
def test_lossy_masks_are_refused(format, options):
    mask = saved(Image.new("RGB", (16, 16)), format=format, **options)
    with pytest.raises(InputError, match=r"changes label values; save masks as PNG"):
        read_labels(mask, CLASSES)


def test_masks_of_fractions_and_many_bands_are_named():
    for values, said in ((np.zeros((2, 2), np.float32), "mode F"), (np.zeros((2, 2, 5), np.uint8), "5 bands of uint8")):
        file = io.BytesIO()
        tifffile.imwrite(file, values, photometric="minisblack", planarconfig="contig" if values.ndim == 3 else None)
        with pytest.raises(InputError, match=f"mask of {said}"):
            read_labels(io.BytesIO(file.getvalue()))


def test_lossy_transparency_is_seen_too():
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 4), np.uint8))
    with pytest.raises(InputError, match=r"lossy compression changes label values"):
        read_labels(saved(picture, format="WEBP", quality=80), CLASSES)
    whole = Image.fromarray(np.array(COLORS, np.uint8)[VALUES]).convert("RGBA")
    assert read_labels(saved(whole, format="WEBP", lossless=True), CLASSES).tolist() == VALUES.tolist()
