from __future__ import annotations

from pathlib import Path

import pytest

from densefield.checks import InputError
from densefield.recipes import find_recipe, recipe_names
from densefield.runs.files import read_recipe, validated, write_recipe


@pytest.mark.parametrize("name", recipe_names())
def test_every_built_in_recipe_survives_its_file(name: str, tmp_path: Path) -> None:
    recipe = find_recipe(name)
    assert recipe.name == name
    write_recipe(recipe, tmp_path / "recipe.yaml")
    assert read_recipe(tmp_path / "recipe.yaml") == recipe


def test_flags_lie_over_the_recipe() -> None:
    flags = ["--stages.0.epochs", "5", "--stages.0.optimizer.rate=2e-3", "--data.root", "/some/where", "--seed", "7"]
    recipe = find_recipe("camvid_fc_densenet56", flags)
    assert recipe.stages[0].epochs == 5
    assert recipe.stages[0].optimizer.learning_rate == 2e-3
    assert recipe.data.kind == "camvid"
    assert recipe.data.root == "/some/where"
    assert recipe.seed == 7
    assert recipe.stages[1] == find_recipe("camvid_fc_densenet56").stages[1]


def test_another_kind_starts_that_choice_afresh() -> None:
    recipe = find_recipe("camvid_fc_densenet56", ["--network.kind", "unet", "--network.width", "8"])
    assert recipe.network.kind == "unet"
    assert recipe.network.width == 8


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--stages.0.epoch", "5"], r"unknown key 'stages\.0\.epoch'; did you mean 'epochs'"),
        (
            ["--network.kind", "fc_densnet56"],
            r"network\.kind: there is no 'fc_densnet56'; did you mean 'fc_densenet56'",
        ),
        (["--refinement.kind", "snake"], r"there is no 'snake'\. Wanted one of: dense_crf, embedding_filter"),
        (["--data.rot", "x"], r"unknown key 'data\.rot'; did you mean 'root'"),
        (["--sead", "1"], r"unknown key 'sead'; did you mean 'seed'"),
        (["--epochs", "1"], r"unknown key 'epochs': it belongs to a stage, stages: \[\{epochs: \.\.\.\}\]"),
        (["--stages.0.epochs", "many"], r"stages\.0\.epochs.*received 'many'"),
        (["--stages.7.epochs", "1"], r"has entries 0 to 1 there"),
        (["--stages.0.epochs", "0"], r"stages\.0\.epochs.*greater than 0"),
        (["--network.kind", "resnet"], r"network.*resnet"),
        (["--seed"], r"--seed: wanted a value"),
        (["seed", "3"], r"wanted --key value"),
    ],
)
def test_a_wrong_flag_is_one_line_that_names_key_and_meant_key(flags: list[str], line: str) -> None:
    with pytest.raises(InputError, match=line) as caught:
        find_recipe("camvid_fc_densenet56", flags)
    assert "\n" not in str(caught.value)


def test_an_unknown_recipe_names_the_likely_one() -> None:
    with pytest.raises(InputError, match=r"did you mean 'camvid_fc_densenet56'\?"):
        find_recipe("camvid_fcdensenet56")


def test_a_yaml_number_in_scientific_notation_is_a_number(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(
        "name: own\nnetwork: {kind: fc_densenet56}\ndata: {kind: samples}\n"
        "stages:\n  - epochs: 1\n    optimizer: {rate: 1e-3}\n"
    )
    assert find_recipe(str(path)).stages[0].optimizer.learning_rate == 1e-3


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("name: own\nstages: []\n", "own.yaml: the key"),
        ("[1, 2]", "wanted a mapping"),
        ("name: [", "not a YAML recipe"),
        ("a: &x [1]\nb: *x\n", "aliases"),
        ("name: !!python/object/apply:os.system ['true']\n", "not a YAML recipe"),
        ("x" * 300_000, "too long for a recipe"),
    ],
)
def test_a_bad_file_is_one_line_that_names_it(text: str, line: str, tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=line) as caught:
        find_recipe(str(path))
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.yaml"):
        find_recipe(str(tmp_path / "none.yaml"))


def test_published_settings_are_those_of_the_paper() -> None:
    for name in ("camvid_fc_densenet56", "camvid_fc_densenet67", "camvid_fc_densenet103", "camvid_classic_upsampling"):
        first, second = find_recipe(name).stages
        assert (first.augmentation.crop, first.batch_size, first.augmentation.flip) == ((224, 224), 3, True)
        assert (first.optimizer.kind, first.optimizer.learning_rate, first.optimizer.weight_decay) == (
            "rmsprop",
            1e-3,
            1e-4,
        )
        assert (first.schedule.kind, first.schedule.gamma) == ("exponential", 0.995)
        assert (second.augmentation.crop, second.optimizer.learning_rate) == (None, 1e-4)
        assert (first.patience, second.patience) == (100, 50)


def test_an_empty_recipe_is_an_error() -> None:
    with pytest.raises(InputError, match="is missing"):
        validated({}, "here")


def test_a_misspelt_required_key_is_named_rather_than_the_missing_one(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(
        "name: own\nnetwork: {kind: unet}\ndata: {kind: folder, root: x}\nstages: [{epoch: 1, batch_size: 2}]\n"
    )
    with pytest.raises(InputError, match=r"unknown key 'stages\.0\.epoch'; did you mean 'epochs'"):
        read_recipe(path)
