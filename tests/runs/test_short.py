"""Short forms mean what they say: beside what they are short for they are refused, and a flag counts more."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
import yaml

from densefield.checks import InputError
from densefield.recipes import find_recipe, recipe_names
from densefield.runs.files import validated
from densefield.runs.recipe import Recipe

PLAIN: dict[str, Any] = {
    "name": "x",
    "network": {"kind": "deeplab_largefov", "width": 2},
    "data": {"kind": "samples"},
    "stages": [{"epochs": 1}],
}
CRF = {"kind": "dense_crf"}
FILTER = {"kind": "embedding_filter"}


def recipe(**changes: Any) -> Recipe:
    return validated({**PLAIN, **changes}, "r.yaml")


def laid(tmp_path: Any, flags: list[str], **changes: Any) -> Recipe:
    (tmp_path / "r.yaml").write_text(yaml.safe_dump({**PLAIN, **changes}))
    return find_recipe(str(tmp_path / "r.yaml"), flags)


def test_a_crf_in_short_is_that_of_nine_numbers_learned() -> None:
    crf = recipe(refinement={**CRF, "theta_alpha": 50}).refinement
    assert crf.kernels[1].theta_alpha == (50.0, 50.0)
    assert (crf.iterations, crf.learn_weights, crf.learn_widths) == (5, True, True)
    assert not recipe(refinement={**CRF, "learn": False}).refinement.learn_weights
    kept = recipe(refinement={**CRF, "learn_widths": False}).refinement
    assert (kept.learn_weights, kept.learn_widths) == (True, False)
    written = recipe(refinement={**CRF, "kernels": [{"kind": "spatial"}]}).refinement
    assert (written.iterations, written.learn_weights) == (10, False)


def test_a_filter_in_short_is_normalised_and_begins_at_eight() -> None:
    chosen = recipe(refinement={**FILTER, "window": 5, "dimension": 8, "pair_labels": "superpixels"})
    assert (chosen.refinement.filter.window, chosen.refinement.filter.initial_lambda) == (5, 8.0)
    assert (chosen.refinement.embedder.dimension, chosen.refinement.embedder.batch_norm) == (8, True)
    assert chosen.loss.pair_labels == "superpixels"
    shared = recipe(refinement={**FILTER, "trunk": "network"}).refinement.embedder
    assert (shared.kind, shared.taps) == ("shared_trunk", ("conv1_2", "conv2_2", "conv3_3"))


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"refinement": {**CRF, "learn": False, "learn_widths": True}}, "learn: is short for learn_weights and"),
        ({"refinement": {**CRF, "kernels": [{"kind": "spatial"}], "theta_alpha": 50}}, "theta_alpha: is short for"),
        ({"refinement": {**CRF, "theta_alpha": -1}}, r"refinement\.theta_alpha: wanted a positive number, received -1"),
        ({"refinement": {**CRF, "theta_alpha": "50"}}, "theta_alpha: wanted a positive number"),
        ({"refinement": {**CRF, "window": 5}}, "dense_crf does not take it, only embedding_filter"),
        ({"refinement": {"kind": "DenseCRF"}}, "there is no 'DenseCRF'; did you mean 'dense_crf'"),
        (
            {"refinement": {**FILTER, "filter": {"window": 5}, "window": 7}},
            "window: is short for what stands in filter",
        ),
        ({"refinement": {**FILTER, "embedder": {"kind": "embedding_network"}, "trunk": "network"}}, "trunk: is short"),
        ({"refinement": {**FILTER, "filter": 5}}, r"refinement\.filter: "),
        ({"refinement": {**FILTER, "filter": {"kind": "sieve"}}}, r"unknown key 'refinement\.filter\.kind'"),
        ({"refinement": {**FILTER, "pair_window": 5}, "loss": 5}, "loss: wanted a mapping"),
        ({"refinement": {**FILTER, "pair_loss": 0.5}, "loss": {"pair_loss": 0.7}}, "pair_loss: stands in loss too"),
        ({"refinement": FILTER, "loss": {"pair_window": 4}}, "pair_window: wanted an odd number"),
        (
            {"refinement": {**CRF, "kernels": [], "compatibility": {"weight": 2}}},
            "wanted one of: diagonal, matrix, potts$",
        ),
    ],
)
def test_what_contradicts_itself_is_refused(changes: dict[str, Any], line: str) -> None:
    with pytest.raises(InputError, match=line) as caught:
        recipe(**changes)
    assert "\n" not in str(caught.value)


def test_a_flag_counts_more_than_what_it_lies_over(tmp_path: Any) -> None:
    short = {"refinement": {**FILTER, "window": 5, "pair_labels": "superpixels"}}
    chosen = laid(tmp_path, ["--loss.pair_labels", "target", "--refinement.filter.window", "7"], **short)
    assert (chosen.loss.pair_labels, chosen.refinement.filter.window) == ("target", 7)
    assert laid(tmp_path, ["--refinement.window", "9"], **short).refinement.filter.window == 9
    assert laid(tmp_path, ["--refinement.learn_weights", "false"], refinement=CRF).refinement.learn_weights is False
    weighed = laid(tmp_path, ["--refinement.kernels.1.weight", "4"], refinement=CRF).refinement
    assert (weighed.kernels[1].weight, weighed.learn_weights) == (4.0, True)
    assert find_recipe("sample_deeplab_crf", ["--refinement.learn", "false"]).refinement.learn_widths is False
    trunk = find_recipe("sample_deeplab_embeddings", ["--refinement.trunk", "network"]).refinement
    assert (trunk.embedder.kind, trunk.embedder.dimension, trunk.filter.initial_lambda) == ("shared_trunk", 32, 8.0)
    with pytest.raises(InputError, match="is of a bilateral kernel, and there is none"):
        laid(tmp_path, ["--refinement.theta_alpha", "3"], refinement={**CRF, "kernels": [{"kind": "spatial"}]})


def test_another_optimizer_keeps_what_was_written(tmp_path: Any) -> None:
    def optimizer(written: dict[str, Any], kind: str) -> Any:
        stages = [{"epochs": 1, "optimizer": written}]
        return laid(tmp_path, ["--stages.0.optimizer.kind", kind], stages=stages).stages[0].optimizer

    assert optimizer({"rate": 0.02}, "sgd").learning_rate == 0.02
    assert optimizer({"rate": 0.02}, "adamw").learning_rate == 0.02
    assert optimizer({"kind": "sgd", "learning_rate": 0.01, "momentum": 0.9}, "rmsprop").momentum == 0.9
    assert optimizer({"kind": "rmsprop", "alpha": 0.5}, "sgd").momentum == 0.9


def test_the_optimizer_s_rate_is_what_older_recipes_call_its_learning_rate(tmp_path: Any) -> None:
    stages = [{"epochs": 1, "optimizer": {"kind": "sgd", "rate": 0.25}}]
    assert recipe(stages=stages).stages[0].optimizer.learning_rate == 0.25
    assert laid(tmp_path, ["--stages.0.optimizer.rate", "0.5"], stages=stages).stages[0].optimizer.learning_rate == 0.5
    with pytest.raises(InputError, match="optimizer: rate is learning_rate"):
        recipe(stages=[{"epochs": 1, "optimizer": {"rate": 0.1, "learning_rate": 0.1}}])


@pytest.mark.parametrize("name", recipe_names())
def test_a_flag_that_changes_nothing_changes_nothing_and_recipes_can_be_pickled(name: str) -> None:
    recipe = find_recipe(name)
    assert find_recipe(name, ["--seed", str(recipe.seed)]) == recipe
    assert pickle.loads(pickle.dumps(recipe)) == recipe
    with pytest.raises(InputError, match="has no 'seeed'; did you mean 'seed'"):
        recipe.changed(seeed=3)
