import pytest
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
    assert [path.name for path in pairs.without_mask] == ["only.png"]
    assert [path.name for path in pairs.without_image] == ["c.png"]
    assert pairs.rivals == ()


def test_rivals(tmp_path):
    put(tmp_path / "i", "a.jpg", "a.png")
    put(tmp_path / "m", "a.png")
    assert [(one.name, two.name) for one, two in find_pairs(tmp_path / "i", tmp_path / "m").rivals] == [
        ("a.jpg", "a.png")
    ]


def test_a_file_is_no_folder(tmp_path):
    put(tmp_path / "m", "a.png")
    with pytest.raises(InputError, match="is a file"):
        find_pairs(tmp_path / "m" / "a.png", tmp_path / "m")
