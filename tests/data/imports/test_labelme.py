"""labelme's folders: every kind of shape pixel for pixel, and what is refused."""

from __future__ import annotations

import base64
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from densefield.checks import InputError
from densefield.data.imports import import_data


def shape(label: str, points: list[list[float]], kind: str = "polygon", **more: Any) -> dict[str, Any]:
    """A shape as labelme 5 writes it."""
    plain = {"label": label, "points": points, "group_id": None, "description": "", "shape_type": kind, "flags": {}}
    return {**plain, "mask": None, **more}


def png(pixels: np.ndarray) -> str:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def annotate(path: Path, image: str, size: tuple[int, int], *shapes: dict[str, Any], **more: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    plain = {"version": "5.4.1", "flags": {}, "shapes": list(shapes), "imagePath": image, "imageData": None}
    path.write_text(json.dumps({**plain, "imageHeight": size[0], "imageWidth": size[1], **more}, indent=2))


TRIANGLE = [[0, 0], [8, 0], [0, 8]]


@pytest.fixture
def source(tmp_path: Path, photo: Any) -> Path:
    """Two images as labelme saves them, one with its labels in another folder, by a Windows machine."""
    home = tmp_path / "src"
    photo(home / "a.jpg", (10, 12))
    photo(home / "images" / "b.png", (6, 7))
    annotate(
        home / "a.json",
        "a.jpg",
        (10, 12),
        shape("cat", TRIANGLE),
        shape("dog", [[2, 1], [5, 4]], "rectangle"),
        shape("sofa", [[9, 7], [11, 7]], "circle"),
        shape("dog", [[0, 9], [1, 9]], "mask", mask=png(np.array([[True, False]]))),
        shape("cat", [[3, 3]], "point"),
    )
    annotate(home / "labels" / "b.json", "..\\images\\b.png", (6, 7), shape("dog", [[6, 5], [0, 4]], "rectangle"))
    return home


def test_every_shape_pixel_for_pixel_and_later_ones_on_top(source: Path, imported: Any) -> None:
    classes, masks, said = imported(source, "labelme")
    assert classes.names == ("background", "cat", "dog", "sofa")
    assert (classes.ignore_index, classes.ignore_declared) == (255, True)
    wanted = np.zeros((10, 12), int)
    y, x = np.mgrid[:10, :12] + 0.5
    wanted[x + y < 8] = 1
    wanted[1:4, 2:5] = 2
    wanted[(x - 9) ** 2 + (y - 7) ** 2 < 4] = 3
    wanted[9, 0] = 2
    on_the_line = x + y == 8  # half covered: either is right
    assert np.array_equal(masks["a"][~on_the_line], wanted[~on_the_line])
    assert masks["images/b"].tolist() == [[0] * 7] * 4 + [[2] * 6 + [0], [0] * 7]
    assert "left out: 1 × point shape, which has no area" in said


def test_images_are_linked_or_copied(source: Path, tmp_path: Path) -> None:
    import_data(source, "labelme", tmp_path / "links")
    assert (tmp_path / "links" / "images" / "a.jpg").readlink() == (source / "a.jpg").absolute()
    import_data(source, "labelme", tmp_path / "copies", copy=True)
    copied = tmp_path / "copies" / "images" / "a.jpg"
    assert not copied.is_symlink()
    assert copied.read_bytes() == (source / "a.jpg").read_bytes()


def test_where_no_links_can_be_made_a_copy_is_offered(
    source: Path, refused: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr("os.symlink", fail)
    assert "a.jpg: no link can be made ([Errno 1] Operation not permitted); use --copy" in refused(source, "labelme")


def test_labels_txt_gives_the_order_and_what_is_ignored(source: Path, imported: Any) -> None:
    (source / "labels.txt").write_text("__ignore__\n_background_\nsofa\ndog\ncat\n")
    annotate(
        source / "labels" / "b.json", "../images/b.png", (6, 7), shape("__ignore__", [[0, 0], [2, 6]], "rectangle")
    )
    classes, masks, _ = imported(source, "labelme")
    assert classes.names == ("background", "sofa", "dog", "cat")
    assert masks["images/b"].tolist() == [[255, 255, 0, 0, 0, 0, 0]] * 6


def test_a_class_list_of_ones_own_names_values_and_what_no_shape_covers(
    source: Path, tmp_path: Path, imported: Any
) -> None:
    listed = tmp_path / "mine.yaml"
    listed.write_text("[{name: dog, value: 7}, {name: sofa, value: 9}, {name: cat, value: 3}]\n")
    classes, masks, _ = imported(source, "labelme", "--classes", str(listed))
    assert classes.values == (7, 9, 3)
    assert set(np.unique(masks["a"])) == {3, 7, 9, 255}  # there is no background: it is not labelled
    assert masks["images/b"][4].tolist() == [7] * 6 + [255]


def test_an_image_inside_the_json_is_written_and_images_without_one_are_counted(source: Path, imported: Any) -> None:
    inside = base64.b64encode((source / "a.jpg").read_bytes()).decode()
    annotate(source / "c.json", "c.jpg", (10, 12), shape("cat", TRIANGLE), imageData=inside)
    Image.new("RGB", (3, 3)).save(source / "lonely.png")
    _, masks, said = imported(source, "labelme")
    assert sorted(masks) == ["a", "c", "images/b"]
    assert "left out: 1 × image without a JSON file" in said


@pytest.mark.parametrize(
    ("wrong", "line"),
    [
        (shape("cat", [[0, 0], [1, 1]]), r"shapes\[0\] \('cat'\): a polygon of 2 points; wanted at least 3"),
        (shape("cat", [[0, 0], [9, 9], [0, 12]]), r"the point \(0, 12\) lies outside of the image, which has 12x10"),
        (shape("cat", [[0, 0], [9, 9], [0, None]]), "points: wanted pairs of finite numbers"),
        (shape("cat", TRIANGLE, "heart"), "shape_type 'heart' is not known"),
        (shape("cat", [[1, 1], [1, 1]], "circle"), "radii: wanted positive numbers"),
        (shape("cat", TRIANGLE, "circle"), "points: wanted 2 of a circle, received 3"),
        (shape("cat", [[0, 0], [1, 1]], "mask", mask="x"), "mask: not base64"),
        (shape("cat", [[0, 0], [1, 1]], "mask", mask="AAAA"), "not a whole picture"),
        (shape("cat", [[11, 9], [15, 9]], "mask", mask=png(np.ones((1, 5), bool))), r"\(16, 10\) lies outside"),
        ({"points": TRIANGLE}, r"shapes\[0\]: label: wanted text, received nothing"),
        ("cat", r"shapes\[0\]: wanted an object with 'label', received 'cat'"),
    ],
)
def test_a_bad_shape_is_one_line(source: Path, refused: Any, wrong: Any, line: str) -> None:
    annotate(source / "a.json", "a.jpg", (10, 12), wrong)
    said = refused(source, "labelme")
    assert str(source / "a.json") in said
    with pytest.raises(InputError, match=line):
        import_data(source, "labelme", source.parent / "other")


@pytest.mark.parametrize("path", ["../../a.jpg", "..\\a.jpg", "/etc/passwd"])
def test_an_image_path_that_climbs_out_is_refused(source: Path, photo: Any, refused: Any, path: str) -> None:
    photo(source.parent / "a.jpg", (10, 12))
    annotate(source / "a.json", path, (10, 12), shape("cat", TRIANGLE))
    assert f"leads out of {source}; wanted a file inside it" in refused(source, "labelme")


def test_other_slips_are_one_line(source: Path, tmp_path: Path, refused: Any) -> None:
    listed = tmp_path / "mine.yaml"
    listed.write_text("[background, cats, sofa]\n")
    assert "the label 'cat' is not in the class list; did you mean 'cats'?" in refused(
        source, "labelme", "--classes", str(listed)
    )
    listed.write_text("[{name: cat, color: [1, 2, 3]}, {name: dog, color: [1, 2, 3]}]\n")
    assert "(1, 2, 3) stands there twice" in refused(source, "labelme", "--classes", str(listed))
    assert "no such folder" in refused(source / "none", "labelme")
    annotate(source / "a.json", "a.jpg", (12, 10))
    assert "labels 10x12 pixels, its image a has 12x10; is the image turned by its EXIF entry?" in refused(
        source, "labelme"
    )
    annotate(source / "a.json", "none.jpg", (12, 10))
    assert "no such file" in refused(source, "labelme")
    (source / "a.json").write_text('{"shapes": [NaN]}')
    assert "not a JSON file (NaN is no number)" in refused(source, "labelme")
    (source / "a.json").write_text("[" * 100_000)
    assert "not a JSON file" in refused(source, "labelme")
    (source / "a.json").write_text("{}")
    assert "shapes: wanted a list, received nothing" in refused(source, "labelme")


def test_a_gigabyte_of_json_is_refused_before_it_is_read(source: Path, refused: Any) -> None:
    with (source / "a.json").open("wb") as file:
        file.truncate(2**30)
    assert "1,024 MiB of JSON; wanted at most 512 MiB" in refused(source, "labelme")


def test_a_folder_that_holds_something_is_left_alone(source: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    import_data(source, "labelme", tmp_path / "out")
    with pytest.raises(InputError, match="out: is there already"):
        import_data(source, "labelme", tmp_path / "out")
    assert (tmp_path / "out" / "masks" / "a.png").exists()


def test_two_images_of_one_name_are_refused(source: Path, photo: Any, refused: Any) -> None:
    photo(source / "a.png", (10, 12))
    annotate(source / "z.json", "a.png", (10, 12))
    assert "z.json: its image goes by the name 'a', as that of" in refused(source, "labelme")
