import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest

from densefield.checks import InputError
from densefield.classes import ClassList, default_colors

ROADS = ClassList(("road", "tree"), ((128, 64, 128), (0, 128, 0)), ignore_index=11, ignore_declared=True)


def test_yaml_file_says_what_it_says(tmp_path):
    path = tmp_path / "classes.yaml"
    path.write_text(
        "ignore_index: 11\n"
        "classes:\n"
        "  - {name: tree, color: [0, 128, 0], index: 1}\n"
        "  - {name: road, color: '#804080', index: 0}\n"
    )
    assert ClassList.read(path) == ROADS


def test_bare_list_of_names_takes_places_and_default_colors(tmp_path):
    path = tmp_path / "classes.yaml"
    path.write_text("- sky\n- sea\n")
    read = ClassList.read(path)
    assert read.names == ("sky", "sea")
    assert read.colors == default_colors(2)
    assert not read.ignore_declared


@pytest.mark.parametrize(
    "classes",
    [
        ROADS,
        dataclasses.replace(ROADS, ignore_colors=((0, 0, 0),), ignore_index=255),
        dataclasses.replace(ROADS, values=(1, 2), ignore_index=0),
        ClassList(ROADS.names, ROADS.colors, values=(0, 255)),
    ],
)
def test_dictionary_round_trip(classes):
    assert ClassList.from_dict(classes.to_dict()) == classes


def test_palette_by_hand():
    palette = ROADS.palette()
    assert palette.shape == (256, 3)
    assert palette.dtype == np.uint8
    assert palette[0].tolist() == [128, 64, 128]
    assert palette[1].tolist() == [0, 128, 0]
    assert palette[2].tolist() == [0, 0, 0]
    assert palette[11].tolist() == [224, 224, 192]
    assert dataclasses.replace(ROADS, ignore_colors=((1, 2, 3),)).palette()[11].tolist() == [1, 2, 3]


def test_default_colors_differ_and_do_not_depend_on_the_number():
    colors = default_colors(255)
    assert len(set(colors)) == 255
    assert colors[:11] == default_colors(11)
    near = [np.abs(np.subtract(a, b)).sum() for i, a in enumerate(colors[:12]) for b in colors[:i]]
    assert min(near) > 60


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("- {name: a, index: 3}\n", "index"),
        ("- {name: a, index: 0}\n- {name: b, index: 0}\n", "taken by 'a'"),
        ("- a\n- a\n", "'a' stands there twice"),
        ("- {name: a, color: [1, 2]}\n", "color"),
        ("- {name: a, color: [1, 2, 300]}\n", "color"),
        ("- {name: a, colr: [1, 2, 3]}\n", "unknown key 'colr'; did you mean 'color'?"),
        ("clases: [a]\n", "unknown key 'clases'"),
        ("classes: [a, b]\nignore_index: 1\n", "ignore_index"),
        ("classes: [a]\nignore_index: 256\n", "ignore_index"),
        ("classes: [tree, car]\nignore_index: 0\n", "0 is the value of 'tree'; .*{name: tree, value: 1}"),
        ("- {name: a, value: 256}\n", "classes[0].value: wanted a whole number from 0 to 255"),
        ("- {name: a, value: 1}\n- b\n", "values: 1 stands there twice"),
        ("{}", "classes"),
        ("12", "wanted a list"),
        ("a: [", "not a YAML class list"),
        ("- &x a\n- *x\n", "alias"),
        ("[" * 3000, "YAML"),
        ("# " + "x" * 300_000, "KiB"),
        ("!!python/object/apply:os.getcwd []", "not a YAML"),
        ("classes: [a, b]\nignore_index: " + "9" * 5000, "not a YAML"),
        ("classes: [a, !!binary aGk=]", "not a YAML"),
    ],
)
def test_bad_files_get_one_line_that_names_file_and_fault(tmp_path, text, wanted):
    path = tmp_path / "classes.yaml"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        ClassList.read(path)
    assert str(path) in str(caught.value)
    for part in wanted.split(".*"):
        assert part in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match=r"nowhere\.yaml"):
        ClassList.read(tmp_path / "nowhere.yaml")


def test_values_are_what_files_hold(tmp_path):
    path = tmp_path / "classes.yaml"
    path.write_text("- background\n- {name: cell, value: 255}\n")
    cells = ClassList.read(path)
    assert cells.values == (0, 255)
    assert (cells.ignore_index, cells.ignore_declared) == (254, False)
    labels = np.array([[0, 255, 1, 254]])
    assert cells.foreign(labels) == [1, 254]
    assert cells.indices(labels[:, :2]).tolist() == [[0, 1]]
    assert cells.file_values()[[0, 1, 255]].tolist() == [0, 255, 254]
    assert cells.palette()[1].tolist() == list(cells.colors[1])
    assert "value" not in str(ROADS.to_dict())


def test_a_relative_path_says_what_it_is_relative_to(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        InputError, match=rf"nowhere.classes\.yaml.*below {re.escape(str(tmp_path))}, where the command"
    ):
        ClassList.read(Path("nowhere") / "classes.yaml")


def test_the_british_spelling_of_older_files_is_read() -> None:
    older = {"classes": [{"name": "a", "colour": [1, 2, 3]}], "ignore_colours": [[9, 9, 9]]}
    today = {"classes": [{"name": "a", "color": [1, 2, 3]}], "ignore_colors": [[9, 9, 9]]}
    assert ClassList.from_dict(older) == ClassList.from_dict(today)
    both = {"classes": [{"name": "a", "colour": [1, 2, 3], "color": [1, 2, 3]}]}
    with pytest.raises(InputError, match="unknown key 'colour'"):
        ClassList.from_dict(both)


def test_a_day_of_the_calendar_is_a_name(tmp_path):
    path = tmp_path / "classes.yaml"
    path.write_text("[2024-01-31, 2024-02-30]")
    assert ClassList.read(path).names == ("2024-01-31", "2024-02-30")
