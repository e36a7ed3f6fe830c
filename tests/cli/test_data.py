import numpy as np
import pytest

from densefield.checks import InputError
from densefield.classes import ClassList
from densefield.cli.data import check
from densefield.images import write_image, write_labels

CLASSES = ClassList(("a", "b"), ((255, 0, 0), (0, 255, 0)))


@pytest.fixture
def directory(tmp_path):
    for name in ("0.png", "1.png"):
        write_image(tmp_path / "photos" / name, np.zeros((4, 5, 3), np.uint8))
        write_labels(tmp_path / "masks" / name, np.array([[0, 1, 1, 255, 0]] * 4), CLASSES)
    return tmp_path


def test_class_list_of_the_directory_is_found(directory, capsys):
    assert check(directory, images="photos") == 2
    (directory / "classes.yaml").write_text("classes: [ground, thing]\nignore_index: 255\n")
    assert check(directory, images="photos") == 0
    assert "thing" in capsys.readouterr().out
    (directory / "other.yaml").write_text("[one]\n")
    assert check(directory, images="photos", classes=directory / "other.yaml") == 2


def test_missing_folder_is_an_input_error(directory):
    with pytest.raises(InputError, match="images: no such folder"):
        check(directory)
