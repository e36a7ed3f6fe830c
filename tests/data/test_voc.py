"""A miniature of PASCAL VOC, laid out as the published archive is: pairs, classes, masks pixel for pixel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from densefield.checks import InputError
from densefield.data import voc
from densefield.data.voc import voc_colors
from densefield.runs.files import validated
from densefield.runs.trainable import check_trainable

# As the development kit's table lists them.
COLORS = {
    "background": (0, 0, 0),
    "aeroplane": (128, 0, 0),
    "bicycle": (0, 128, 0),
    "bird": (128, 128, 0),
    "boat": (0, 0, 128),
    "bottle": (128, 0, 128),
    "bus": (0, 128, 128),
    "car": (128, 128, 128),
    "cat": (64, 0, 0),
    "chair": (192, 0, 0),
    "cow": (64, 128, 0),
    "diningtable": (192, 128, 0),
    "dog": (64, 0, 128),
    "horse": (192, 0, 128),
    "motorbike": (64, 128, 128),
    "person": (192, 128, 128),
    "pottedplant": (0, 64, 0),
    "sheep": (128, 64, 0),
    "sofa": (0, 192, 0),
    "train": (128, 192, 0),
    "tvmonitor": (0, 64, 128),
}
LISTS = {
    "train": ["2007_000032", "2007_000039"],
    "val": ["2007_000033"],
    "trainval": ["2007_000032", "2007_000033", "2007_000039"],
}


def mask_of(name: str, size: tuple[int, int]) -> np.ndarray:
    """Every class, and the border: drawn from the name."""
    values = np.array([*range(21), 255], np.uint8)
    return np.resize(np.roll(values, int(name[-3:])), size)


def size_of(name: str) -> tuple[int, int]:
    return (7, 9) if name.endswith("2") else (9, 7)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """VOC2012 with three images of two sizes, and two more of the augmented set, whose masks have no palette."""
    home = tmp_path / "VOCdevkit" / "VOC2012"
    for folder in ("JPEGImages", "SegmentationClass", "SegmentationClassAug", "ImageSets/Segmentation", "Annotations"):
        (home / folder).mkdir(parents=True)
    palette = bytes(part for color in voc_colors(256) for part in color)
    for name in (*LISTS["trainval"], "2008_000002", "2008_000003"):
        height, width = size_of(name)
        Image.new("RGB", (width, height), (10, 200, 30)).save(home / "JPEGImages" / f"{name}.jpg", quality=100)
        mask = Image.fromarray(mask_of(name, (height, width)))
        mask.save(home / "SegmentationClassAug" / f"{name}.png")
        if name in LISTS["trainval"]:
            mask.putpalette(palette)
            mask.save(home / "SegmentationClass" / f"{name}.png")
    for split, names in LISTS.items():
        (home / "ImageSets" / "Segmentation" / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))
    augmented = ["2007_000032", "2007_000039", "2008_000002", "2008_000003"]
    lines = [f"/JPEGImages/{name}.jpg /SegmentationClassAug/{name}.png\n" for name in augmented]
    (home / "ImageSets" / "Segmentation" / "train_aug.txt").write_text("".join(lines))
    return home


def test_the_classes_and_colors_are_the_published_ones(root: Path) -> None:
    classes = voc(root=str(root)).classes
    assert dict(zip(classes.names, classes.colors, strict=True)) == COLORS
    assert (voc_colors(256)[255], classes.ignore_index) == ((224, 224, 192), 255)
    assert classes.palette()[255].tolist() == [224, 224, 192]


@pytest.mark.parametrize("split", LISTS)
def test_each_list_gives_its_pairs_with_masks_read_as_values(root: Path, split: str) -> None:
    pairs = voc(split, root=str(root))
    assert pairs.names == LISTS[split]
    for sample in pairs:
        assert sample.image.shape == (*sample.target.shape, 3)
        assert abs(sample.image.astype(int) - (10, 200, 30)).max() <= 3
        np.testing.assert_array_equal(sample.target, mask_of(sample.name, size_of(sample.name)))


def test_the_augmented_set_trains_on_the_paths_of_its_list_and_is_measured_on_vocs_own(root: Path) -> None:
    train, val = (voc(split, root=str(root), variant="augmented") for split in ("train", "val"))
    assert train.names == ["2007_000032", "2007_000039", "2008_000002", "2008_000003"]
    assert all(each.mask.parent.name == "SegmentationClassAug" for each in train.files)
    for sample in train:
        np.testing.assert_array_equal(sample.target, mask_of(sample.name, size_of(sample.name)))
    assert [each.mask.parent.name for each in val.files] == ["SegmentationClass"]


def test_a_list_that_was_put_there_is_a_split(root: Path) -> None:
    (root / "ImageSets" / "Segmentation" / "seg11valid.txt").write_text("2007_000033\n\n")
    assert voc("seg11valid", root=str(root)).names == ["2007_000033"]
    with pytest.raises(InputError, match=r"test\.txt: no such list; there are: seg11valid, train, train_aug, trainval"):
        voc("test", root=str(root))


def test_a_mask_without_its_palette_or_in_its_colors_reads_alike(root: Path) -> None:
    path, target = root / "SegmentationClass" / "2007_000033.png", voc("val", root=str(root))[0].target
    Image.open(path).convert("RGB").save(path)
    np.testing.assert_array_equal(voc("val", root=str(root))[0].target, target)
    Image.fromarray(target).save(path)
    np.testing.assert_array_equal(voc("val", root=str(root))[0].target, target)


def test_what_is_missing_is_named_with_where_the_set_is_to_be_had(root: Path) -> None:
    with pytest.raises(
        InputError, match=r"VOCdevkit: holds no JPEGImages, no Seg.*they lie in .*VOC2012, so give that"
    ):
        voc(root=str(root.parent))
    with pytest.raises(
        InputError, match=r"^data\.root: .*nowhere: no such folder; .*is to be had from http://host\.rob"
    ):
        voc(root=str(root / "nowhere"))
    (root / "JPEGImages" / "2008_000003.jpg").unlink()
    assert len(voc(root=str(root))) == 2
    with pytest.raises(
        InputError, match=r"2008_000003\.jpg: no such file; 1 of the split's 4 images are missing: unpack .*github"
    ):
        voc(root=str(root), variant="augmented")
    for name in LISTS["train"]:
        (root / "SegmentationClass" / f"{name}.png").unlink()
    with pytest.raises(
        InputError, match=r"2007_000032\.png: no such file; 2 of the split's 2 masks are missing: unpack .*VOCtrain"
    ):
        voc(root=str(root))
    (root / "ImageSets" / "Segmentation" / "train_aug.txt").unlink()
    with pytest.raises(InputError, match=r"holds no ImageSets/Segmentation/train_aug\.txt; .*augmented PASCAL VOC is"):
        voc(root=str(root), variant="augmented")


def test_damaged_lists_and_masks_are_one_line(root: Path) -> None:
    lists = root / "ImageSets" / "Segmentation"
    for text, line in (
        ("a b c\n", r"train\.txt, line 1: holds 3 words; wanted a name, or"),
        ("\n/../../a.jpg /b.png\n", r"line 2: /\.\./\.\./a\.jpg leads out of"),
        ("../a\n", r"line 1: .*leads out of"),
        ("\n", "names no image"),
    ):
        (lists / "train.txt").write_text(text)
        with pytest.raises(InputError, match=line):
            voc(root=str(root))
    (lists / "train.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"train\.txt: cannot be read"):
        voc(root=str(root))
    with pytest.raises(InputError, match=r"split: wanted the name of a list in .*received '\.\./val'"):
        voc("../val", root=str(root))
    Image.fromarray(np.full((9, 7), 21, np.uint8)).save(root / "SegmentationClass" / "2007_000033.png")
    with pytest.raises(InputError, match=r"000033\.png: holds label value 21, which PASCAL VOC 2012 does not have; wa"):
        voc("val", root=str(root))[0]
    Image.fromarray(np.zeros((9, 8), np.uint8)).save(root / "SegmentationClass" / "2007_000033.png")
    with pytest.raises(InputError, match=r"the mask is 8x9 pixels, its image .* is 7x9"):
        voc("val", root=str(root))[0]


def test_a_training_list_that_names_held_out_images_is_refused(root: Path) -> None:
    with (root / "ImageSets" / "Segmentation" / "train_aug.txt").open("a") as file:
        file.write("/JPEGImages/2007_000033.jpg /SegmentationClassAug/2007_000033.png\n")
    with pytest.raises(InputError, match=r"train_aug\.txt: names 2007_000033, which val\.txt holds out; take it out"):
        voc(root=str(root), variant="augmented")


def test_a_recipe_names_it_and_its_sizes_are_looked_at_before_training(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = {
        "name": "voc",
        "network": {"kind": "unet", "padding": "same", "width": 1},
        "data": {"kind": "voc", "root": str(root), "variant": "augmented"},
        "stages": [{"epochs": 1, "batch_size": 2}],
    }
    recipe = validated(plain, "voc.yaml")
    assert len(recipe.pairs("train")) == 4
    with pytest.raises(InputError, match=r"training images have 2 sizes \(7x9, 9x7 \.\.\.\), which fit no batch"):
        check_trainable(recipe, recipe.pairs("train"), recipe.pairs("val"))
    with pytest.raises(InputError, match=r"data\.variant"):
        validated({**plain, "data": {"kind": "voc", "variant": "larger"}}, "voc.yaml")
    monkeypatch.setenv("DENSEFIELD_DATA", str(root.parent.parent))
    assert validated({**plain, "data": {"kind": "voc"}}, "voc.yaml").pairs("val").names == ["2007_000033"]
