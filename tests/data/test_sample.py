import numpy as np
import pytest
from PIL import Image

from densefield.checks import InputError
from densefield.classes import ClassList
from densefield.data.sample import describe_foreign, read_sample, read_target, target_of, trained_classes
from densefield.images import write_image, write_labels

LIST = ClassList(("a", "b"), ((0, 0, 0), (9, 9, 9)), ignore_index=7, ignore_declared=True)


def test_read_sample(tmp_path):
    write_image(tmp_path / "i.png", np.full((1, 3, 3), 4, np.uint8))
    write_labels(tmp_path / "m.png", np.array([[0, 7, 1]]), LIST)
    sample = read_sample("x", tmp_path / "i.png", tmp_path / "m.png", LIST)
    assert sample.target.tolist() == [[0, 255, 1]]
    assert sample.target.dtype == np.uint8
    assert sample.name == "x"
    write_labels(tmp_path / "m.png", np.array([[0, 7]]), LIST)
    with pytest.raises(InputError, match=r"m\.png: the mask is 2x1 pixels, its image .*i\.png is 3x1"):
        read_sample("x", tmp_path / "i.png", tmp_path / "m.png", LIST)


@pytest.mark.parametrize("declared", [True, False])
def test_foreign_values_against_sets(declared):
    classes = ClassList(LIST.names, LIST.colors, ignore_index=7, ignore_declared=declared)
    labels = np.array([[-1, 0, 1, 2, 7, 255, 40_000]])
    allowed = {0, 1} | ({7} if declared else set())
    assert classes.foreign(labels) == sorted(set(labels.ravel().tolist()) - allowed)
    assert ("ignore_index 7" in describe_foreign([2, 40_000], classes)) == declared


def test_trained_classes_ignore_255():
    assert (trained_classes(LIST).ignore_index, trained_classes(LIST).ignore_declared) == (255, True)


CELLS = ClassList.from_dict(["background", {"name": "cell", "value": 255}])


def test_declared_values_become_indices(tmp_path):
    Image.fromarray(np.array([[0, 255, 255]], np.uint8)).save(tmp_path / "m.png")
    assert read_target(tmp_path / "m.png", CELLS).tolist() == [[0, 1, 1]]
    ignoring = ClassList.from_dict(
        {"classes": [{"name": "a", "value": 1}, {"name": "b", "value": 2}], "ignore_index": 0}
    )
    Image.fromarray(np.array([[0, 1, 2]], np.uint8)).save(tmp_path / "m.png")
    assert read_target(tmp_path / "m.png", ignoring).tolist() == [[255, 0, 1]]
    assert target_of(np.array([[0, 1, 2]]), ignoring, "m", unsure=2).tolist() == [[255, 0, 255]]


def test_0_and_255_masks_are_told_how_to_name_the_object(tmp_path):
    Image.fromarray(np.array([[0, 255, 255]], np.uint8)).save(tmp_path / "m.png")
    with pytest.raises(InputError, match=r"label value 255, .* looks like 'cell', .* write value: 255 into its entry"):
        read_target(tmp_path / "m.png", ClassList.from_dict(["background", "cell"]))
    with pytest.raises(InputError, match=r"if it is one of the classes, write value: 255"):
        read_target(tmp_path / "m.png", ClassList.from_dict(["background", "cell", "dirt"]))


def test_many_values_look_like_soft_edges():
    assert "soft edges" in describe_foreign(list(range(2, 99)), CELLS)
    assert "(97 in all)" in describe_foreign(list(range(2, 99)), CELLS)
