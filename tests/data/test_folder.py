import numpy as np
import pytest
from PIL import Image

from densefield.checks import InputError
from densefield.classes import ClassList
from densefield.data import Folder
from densefield.data.folder import folder
from densefield.images import Reading, write_image, write_labels

CLASSES = ClassList(("a", "b"), ((255, 0, 0), (0, 255, 0)))
IGNORING = ClassList(("a", "b"), ((255, 0, 0), (0, 255, 0)), ignore_index=9, ignore_declared=True)


@pytest.fixture
def folders(tmp_path):
    images, masks = tmp_path / "images", tmp_path / "masks"
    for name in ("x", "deep/y"):
        write_image(images / f"{name}.png", np.full((3, 4, 3), 7, np.uint8))
        write_labels(masks / f"{name}.png", np.array([[0, 1, 1, 0]] * 3), CLASSES)
    (images / "notes.txt").write_text("no picture")
    (images / ".hidden.png").write_text("no picture")
    return images, masks


def test_pairs_by_name(folders):
    folder = Folder(*folders, CLASSES)
    assert folder.names == ["deep/y", "x"]
    assert folder[0].target.tolist() == [[0, 1, 1, 0]] * 3
    assert folder[1].name == "x"


def test_class_list_from_a_file_and_color_masks(folders, tmp_path):
    path = tmp_path / "classes.yaml"
    path.write_text("- {name: a, color: [255, 0, 0]}\n- {name: b, color: [0, 255, 0]}\n")
    write_image(folders[1] / "x.png", np.array([[[0, 255, 0], [255, 0, 0]] * 2] * 3, np.uint8))
    assert Folder(*folders, path)[1].target.tolist() == [[1, 0, 1, 0]] * 3


def test_declared_ignored_value_becomes_255(folders):
    write_labels(folders[1] / "x.png", np.array([[0, 9, 1, 0]] * 3), IGNORING)
    folder = Folder(*folders, IGNORING)
    assert folder[1].target.tolist() == [[0, 255, 1, 0]] * 3
    assert folder.classes.ignore_index == 255


@pytest.mark.parametrize(("value", "hint"), [(255, "ignore_index: 255"), (2, "wanted 0 to 1"), (9, "value: 9")])
def test_undeclared_values_are_named_never_ignored(folders, value, hint):
    write_labels(folders[1] / "x.png", np.array([[0, value, 1, 0]] * 3), CLASSES)
    with pytest.raises(InputError, match=rf"x\.png: holds label value {value}.*{hint}"):
        Folder(*folders, CLASSES)[1]


def test_missing_partners_and_folders(folders, tmp_path):
    images, masks = folders
    with pytest.raises(InputError, match="no such folder"):
        Folder(tmp_path / "nowhere", masks, CLASSES)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty: holds no picture"):
        Folder(images, tmp_path / "empty", CLASSES)
    with pytest.raises(InputError, match="two folders"):
        Folder(images, images, CLASSES)
    (masks / "x.png").unlink()
    with pytest.raises(InputError, match=r"x\.png: has no mask"):
        Folder(images, masks, CLASSES)


def test_splits_share_nothing_and_hardly_move(tmp_path):
    def add(names):
        for name in names:
            write_image(tmp_path / "images" / f"{name}.png", np.zeros((2, 2, 3), np.uint8))
            write_labels(tmp_path / "masks" / f"{name}.png", np.zeros((2, 2), int), CLASSES)

    def split(which, val=0.2):
        return Folder(tmp_path / "images", tmp_path / "masks", CLASSES, split=which, val=val).names

    add(range(30))
    train, val = split("train"), split("val")
    assert (len(train), len(val)) == (24, 6)
    assert sorted(train + val) == split("all")
    assert len(split("val", 0.999)) == 29
    assert len(split("val", 0.001)) == 1
    add(["one more"])
    assert len(set(split("val")) ^ set(val)) <= 2
    with pytest.raises(InputError, match="split"):
        split("test")


def test_two_images_of_one_name(folders):
    Image.new("RGB", (4, 3)).save(folders[0] / "x.jpg")
    with pytest.raises(InputError, match="same name"):
        Folder(*folders, CLASSES)


def test_a_suffix_and_what_is_meant_without_one(folders):
    for mask in list(folders[1].rglob("*.png")):
        mask.rename(mask.with_name(f"{mask.stem}_mask.png"))
    with pytest.raises(InputError, match=r"has no mask of the same name \(2 such files\); .*data\.suffix: _mask"):
        Folder(*folders, CLASSES)
    assert Folder(*folders, CLASSES, suffix="_mask")[1].target.tolist() == [[0, 1, 1, 0]] * 3


def test_masks_of_0_and_255(folders):
    for mask in folders[1].rglob("*.png"):
        Image.fromarray(np.array([[0, 255, 255, 0]] * 3, np.uint8)).save(mask)
    folder = Folder(*folders, ClassList.from_dict(["a", {"name": "b", "value": 255}]))
    assert folder[0].target.tolist() == [[0, 1, 1, 0]] * 3
    assert folder.classes.values == (0, 255)


def test_bands_and_range_of_the_images(folders):
    for image in folders[0].rglob("[!.]*.png"):
        Image.fromarray(np.full((3, 4), 1024, np.uint16)).save(image)
    with pytest.raises(InputError, match=r"--range 0,2047"):
        Folder(*folders, CLASSES)[0]
    (folders[0].parent / "c.yaml").write_text("[a, b]")
    found = folder(root=str(folders[0].parent), classes="c.yaml", range=(0.0, 2047.0), bands=(1,))
    assert found.reading == Reading((1,), (0.0, 2047.0))
    assert (found[0].image == 128).all()
