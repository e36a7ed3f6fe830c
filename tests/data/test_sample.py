import numpy as np
import pytest

from densefield.checks import InputError
from densefield.classes import ClassList
from densefield.data.sample import describe_foreign, foreign_values, read_sample, trained_classes
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
    classes = ClassList(LIST.names, LIST.colours, ignore_index=7, ignore_declared=declared)
    labels = np.array([[-1, 0, 1, 2, 7, 255, 40_000]])
    allowed = {0, 1} | ({7} if declared else set())
    assert foreign_values(labels, classes) == sorted(set(labels.ravel().tolist()) - allowed)
    assert ("now 7" if declared else "now none") in describe_foreign([2, 40_000], classes)


def test_trained_classes_ignore_255():
    assert (trained_classes(LIST).ignore_index, trained_classes(LIST).ignore_declared) == (255, True)
