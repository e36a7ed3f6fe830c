import io
import os

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from densefield.checks import InputError
from densefield.classes import ClassList
from densefield.data.audit import audit
from densefield.images import Reading, write_image, write_labels

CLASSES = ClassList(("a", "b", "never"), ((255, 0, 0), (0, 255, 0), (0, 0, 255)))


@pytest.fixture
def folders(tmp_path):
    images, masks = tmp_path / "images", tmp_path / "masks"
    for index in range(3):
        write_image(images / f"{index}.png", np.full((4, 5, 3), 7, np.uint8))
        write_labels(masks / f"{index}.png", np.array([[0, 1, 1, 1, 0]] * 4), CLASSES)
    return images, masks


def kinds(found):
    return [problem.kind for problem in found.problems]


def printed(found):
    file = io.StringIO()
    found.show(Console(file=file, width=200))
    return file.getvalue()


def test_all_is_well(folders):
    found = audit(*folders, CLASSES)
    assert (found.good, found.exit_code, found.pairs) == (True, 0, 3)
    assert found.pixels == {0: 24, 1: 36}
    assert found.images_with == {0: 3, 1: 3}
    assert found.sizes == {(5, 4): 3}
    assert found.unseen == ["never"]
    text = printed(found)
    assert "40.00 %" in text
    assert "60.00 %" in text
    assert "No pixel of: never" in text
    assert "Nothing is wrong" in text


def test_every_problem_is_found_at_once(folders):
    images, masks = folders
    write_image(images / "alone.png", np.zeros((4, 5, 3), np.uint8))
    write_labels(masks / "single.png", np.zeros((4, 5), int), CLASSES)
    write_labels(masks / "0.png", np.zeros((5, 4), int), CLASSES)
    write_labels(masks / "1.png", np.array([[0, 3, 255, 1, 0]] * 4), CLASSES)
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(images / "2.jpg")
    (images / "2.png").unlink()
    (images / "2.jpg").write_bytes((images / "2.jpg").read_bytes()[:-900])
    (masks / "2.png").write_bytes((masks / "2.png").read_bytes()[:40])
    found = audit(images, masks, CLASSES)
    assert found.exit_code == 2
    assert sorted(kinds(found)) == [
        "image without mask",
        "mask without image",
        "sizes differ",
        "unusable image",
        "unusable mask",
        "value outside the class list",
    ]
    text = printed(found)
    for name in ("alone.png", "single.png", "0.png", "1.png", "2.jpg", "2.png"):
        assert name in text
    assert "3, 255" in text
    assert "6 problems" in text


def test_undeclared_255_is_named_with_and_without_a_list(folders):
    write_labels(folders[1] / "1.png", np.array([[0, 1, 255, 1, 0]] * 4), CLASSES)
    found = audit(*folders, CLASSES)
    assert kinds(found) == ["value outside the class list"]
    assert "ignore_index: 255" in found.problems[0].message
    assert kinds(audit(*folders)) == ["no class list"]
    assert "255" in audit(*folders).problems[0].message
    declared = ClassList(CLASSES.names, CLASSES.colors, ignore_declared=True)
    assert audit(*folders, declared).good


def test_rotated_image_gets_a_hint(folders):
    write_image(folders[0] / "0.png", np.zeros((5, 4, 3), np.uint8))
    found = audit(*folders, CLASSES)
    assert kinds(found) == ["sizes differ"]
    assert "EXIF" in found.problems[0].message


def test_many_problems_are_counted_not_listed(folders):
    for index in range(30):
        write_image(folders[0] / f"more{index:02}.png", np.zeros((4, 5, 3), np.uint8))
    text = printed(audit(*folders, CLASSES))
    assert "image without mask: 30" in text
    assert "... and 20 more" in text


def test_empty_folder(folders, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty"):
        audit(folders[0], tmp_path / "empty", CLASSES)


def test_what_is_left_out_and_folders_that_cannot_be_read_are_said(folders, monkeypatch):
    (folders[0] / "photo.heic").write_bytes(b"x")
    write_image(folders[0] / "deep" / "x.png", np.zeros((4, 5, 3), np.uint8))
    scan = os.scandir

    def locked(path):
        if str(path).endswith("deep"):
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", locked)
    found = audit(*folders, CLASSES)
    assert kinds(found) == ["unreadable folder"]
    assert "images: left out 1 .heic file" in printed(found)


def test_folders_behind_links_are_read(folders, tmp_path):
    for folder in folders:
        (folder / "0.png").rename(tmp_path / "0.png")
        (tmp_path / folder.name[:1]).mkdir()
        (tmp_path / "0.png").rename(tmp_path / folder.name[:1] / "0.png")
        (folder / "more").symlink_to(tmp_path / folder.name[:1])
    found = audit(*folders, CLASSES)
    assert (found.good, found.pairs) == (True, 3)


def test_a_suffix_finds_the_masks(folders):
    for mask in list(folders[1].iterdir()):
        mask.rename(mask.with_name(f"{mask.stem}_mask.png"))
    assert kinds(audit(*folders, CLASSES)) == ["image without mask"] * 3 + ["mask without image"] * 3
    assert "data.suffix: _mask" in audit(*folders, CLASSES).problems[0].message
    assert audit(*folders, CLASSES, suffix="_mask").good


CELLS = ClassList.from_dict(["background", "cell"])


def fill(masks, *rows):
    for index, row in enumerate(rows):
        Image.fromarray(np.array([row] * 4, np.uint8)).save(masks / f"{index}.png")


def test_0_and_255_masks_are_told_how_to_name_the_object(folders):
    fill(folders[1], *[[0, 255, 255, 255, 0]] * 3)
    found = audit(*folders, CELLS)
    assert kinds(found) == ["value outside the class list"] * 3 + ["nothing to tell apart"]
    assert "if that is 'cell', write value: 255 into its entry" in found.problems[-1].message
    # The advice of old, after which a training reported 100 % at a loss of 0.
    ignoring = ClassList.from_dict({"classes": ["background", "cell"], "ignore_index": 255})
    found = audit(*folders, ignoring)
    assert kinds(found) == ["nothing to tell apart"]
    assert "60.0 % of the pixels hold 255, which the class list ignores" in found.problems[0].message
    assert "in place of ignore_index: 255" in found.problems[0].message
    assert audit(*folders, ClassList.from_dict(["background", {"name": "cell", "value": 255}])).good


def test_nothing_to_learn_is_a_problem(folders):
    ignoring = ClassList.from_dict({"classes": ["background", "cell"], "ignore_index": 255})
    fill(folders[1], *[[255] * 5] * 3)
    assert "no pixel is of any class" in audit(*folders, ignoring).problems[0].message
    fill(folders[1], *[[0] * 5] * 3)
    assert "the only class with pixels is 'background'" in audit(*folders, ignoring).problems[0].message


def test_a_single_pair_cannot_be_split(folders):
    for folder in folders:
        for index in (1, 2):
            (folder / f"{index}.png").unlink()
    assert kinds(audit(*folders, CLASSES)) == ["too few pairs"]


def test_without_a_class_list_one_is_suggested(folders):
    fill(folders[1], *[[0, 255, 255, 255, 0]] * 3)
    message = audit(*folders).problems[0].message
    assert "classes: [{name: class0, value: 0}, {name: class1, value: 255}]" in message


def test_a_255_beside_two_values_is_suggested_as_what_is_not_labelled(folders):
    fill(folders[1], *[[0, 1, 1, 255, 0]] * 3)
    message = audit(*folders).problems[0].message
    assert "such as: {classes: [class0, class1], ignore_index: 255}, where 255 is not labelled" in message


def test_several_sizes_get_a_hint(folders):
    write_image(folders[0] / "0.png", np.zeros((9, 9, 3), np.uint8))
    write_labels(folders[1] / "0.png", np.array([[0, 1, 1] * 3] * 9), CLASSES)
    found = audit(*folders, CLASSES)
    assert found.good
    assert "several sizes: train with augmentation.crop" in printed(found)


def test_values_beyond_8_bits_are_told_apart(folders):
    for index in range(3):
        Image.fromarray(np.array([[0, 65535, 65535, 0, 0]] * 4, np.uint16)).save(folders[1] / f"{index}.png")
    found = audit(*folders, CELLS)
    assert "label values go from 0 to 255: save the masks with 8 bits" in found.problems[0].message
    assert "value: 65535" not in printed(found)


def test_bands_and_range_of_the_images(folders):
    for index in range(3):
        Image.fromarray(np.full((4, 5), 2000, np.uint16)).save(folders[0] / f"{index}.png")
    found = audit(*folders, CLASSES)
    assert kinds(found) == ["unusable image"] * 3
    assert "--range 0,2047" in found.problems[0].message
    assert audit(*folders, CLASSES, reading=Reading(range=(0, 2047))).good
