import re
import unicodedata

import numpy as np
import pytest
import tifffile
from PIL import Image

from densefield.checks import InputError
from densefield.data.pairs import find_pairs


def put(folder, *names):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (2, 2)).save(folder / name)


def test_names_are_paths_without_ending(tmp_path):
    put(tmp_path / "i", "a.jpg", "deep/b.v2.tif", "only.png", "UPPER.PNG")
    put(tmp_path / "m", "a.png", "deep/b.v2.png", "deep/c.png", "UPPER.png")
    (tmp_path / "i" / "readme.md").write_text("text")
    (tmp_path / "i" / ".cache").mkdir()
    put(tmp_path / "i", ".cache/a.png")
    pairs = find_pairs(tmp_path / "i", tmp_path / "m")
    assert pairs.names == ["UPPER", "a", "deep/b.v2"]
    assert [picture.path.name for picture in pairs.without_mask] == ["only.png"]
    assert [picture.path.name for picture in pairs.without_image] == ["c.png"]
    assert pairs.rivals == ()


def test_rivals(tmp_path):
    put(tmp_path / "i", "a.jpg", "a.png")
    put(tmp_path / "m", "a.png")
    assert [(one.path.name, two.path.name) for one, two in find_pairs(tmp_path / "i", tmp_path / "m").rivals] == [
        ("a.jpg", "a.png")
    ]


def test_a_file_is_no_folder(tmp_path):
    put(tmp_path / "m", "a.png")
    with pytest.raises(InputError, match="is a file"):
        find_pairs(tmp_path / "m" / "a.png", tmp_path / "m")


def test_a_suffix_names_the_masks_in_their_own_or_the_same_folder(tmp_path):
    put(tmp_path / "i", "a.jpg", "deep/b.jpg")
    put(tmp_path / "m", "a_mask.png", "deep/b_mask.png")
    pairs = find_pairs(tmp_path / "i", tmp_path / "m", suffix="_mask")
    assert (pairs.names, pairs.without_mask, pairs.without_image) == (["a", "deep/b"], [], [])
    put(tmp_path / "i", "a_mask.png", "deep/b_mask.png")
    both = find_pairs(tmp_path / "i", tmp_path / "i", suffix="_mask")
    assert (both.names, both.without_mask, both.without_image) == (["a", "deep/b"], [], [])
    assert both.images["a"].path.name == "a.jpg"
    with pytest.raises(InputError, match="no mask whose name ends in '_label'"):
        find_pairs(tmp_path / "i", tmp_path / "m", suffix="_label")


@pytest.mark.parametrize(
    ("image", "mask", "said"),
    [
        (
            "p1.jpg",
            "p1_mask.png",
            r"p1\.jpg and p1_mask\.png are there: .*--suffix _mask, in a recipe data\.suffix: _mask",
        ),
        ("p1.jpg", "p1.jpg.png", r"--suffix \.jpg"),
        ("Foo.jpg", "foo.png", r"Foo\.jpg and .*foo\.png differ in capital letters only; rename one"),
    ],
)
def test_the_file_that_may_be_meant_is_named(tmp_path, image, mask, said):
    put(tmp_path / "i", image, "same.png")
    put(tmp_path / "m", mask, "same.png", "quite_other.png")
    pairs = find_pairs(tmp_path / "i", tmp_path / "m")
    assert pairs.names == ["same"]
    hints = pairs.hints()
    assert len(hints) == 2
    for hint in hints.values():
        assert re.search(said, hint)


def test_the_suffix_that_most_masks_share_is_meant(tmp_path):
    put(tmp_path / "i", "p1.jpg", "p10.jpg", "p2.jpg")
    put(tmp_path / "m", "p1_mask.png", "p10_mask.png", "p2_mask.png")
    hints = find_pairs(tmp_path / "i", tmp_path / "m").hints()
    assert len(hints) == 6
    assert all("data.suffix: _mask" in hint for hint in hints.values())


def test_composed_and_decomposed_letters_are_one_name(tmp_path):
    put(tmp_path / "i", unicodedata.normalize("NFC", "café straße.png"))
    put(tmp_path / "m", unicodedata.normalize("NFD", "café straße.png"))
    assert find_pairs(tmp_path / "i", tmp_path / "m").names == [unicodedata.normalize("NFC", "café straße")]


def test_stacks_pair_page_by_page(tmp_path):
    for folder, pages in (("i", 3), ("m", 3), ("one", 1)):
        (tmp_path / folder).mkdir()
        tifffile.imwrite(tmp_path / folder / "scan.tif", np.zeros((pages, 4, 5), np.uint8), photometric="minisblack")
    assert find_pairs(tmp_path / "i", tmp_path / "m").names == ["scan.0001", "scan.0002", "scan.0003"]
    for folders in (("i", "one"), ("one", "i")):
        hints = find_pairs(*(tmp_path / folder for folder in folders)).hints()
        assert hints
        assert all("several pages" in hint for hint in hints.values())
