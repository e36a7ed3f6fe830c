"""Stages with a refinement behind the network: what learns, what stands still, what is saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from densefield.checks import InputError
from densefield.recipes import find_recipe
from densefield.refine import DenseCRF, EmbeddingRefinement
from densefield.runs.evaluate import evaluate
from densefield.runs.files import validated
from densefield.runs.recipe import Recipe
from densefield.runs.sweep import sweep_filter
from densefield.runs.train import Machine, train
from densefield.segmenter import Segmenter
from densefield.segmenter.description import shares_trunk

MACHINE = Machine(accelerator="cpu", devices=1, workers=0, bar=False)
QUIET = Console(quiet=True)
STAGE = {"epochs": 1, "batch_size": 3, "optimizer": {"kind": "adam", "learning_rate": 1e-2}}
CRF = {"kind": "dense_crf", "theta_alpha": 20.0, "bilateral_weight": 2.0, "spatial_weight": 1.0}
EMBEDDINGS = {
    "kind": "embedding_filter",
    "taps": ["image", "conv1_1"],
    "width": 2,
    "dimension": 4,
    "window": 5,
    "iterations": 2,
}


def recipe(**changes: Any) -> Recipe:
    plain = {
        "name": "refined",
        "network": {"kind": "deeplab_largefov", "width": 2, "rate": 2, "dropout": 0.0},
        "data": {"kind": "samples", "size": 32, "scenes": 12, "held_out_size": 32, "held_out_scenes": 4},
        "stages": [{**STAGE, "trains": "network"}, {**STAGE, "trains": "all"}],
        **changes,
    }
    return validated(plain, "refined")


@pytest.fixture(scope="module")
def joint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "joint"
    train(recipe(refinement=CRF), folder, machine=MACHINE, console=QUIET)
    return folder


def checkpoint(folder: Path, stage: int) -> dict[str, torch.Tensor]:
    state = torch.load(folder / f"stage-{stage}" / "last.ckpt", weights_only=True)["state_dict"]
    return dict(state)


def test_the_network_learns_alone_and_then_with_the_crf(joint: Path) -> None:
    first, second = checkpoint(joint, 1), checkpoint(joint, 2)
    assert not any(name.startswith("refinement") for name in first)
    learned = {name: tensor for name, tensor in second.items() if name.startswith("refinement")}
    assert sum(tensor.numel() for tensor in learned.values()) == 9
    start = DenseCRF.nine_parameters(2).state_dict()
    assert set(learned) == {f"refinement.{name}" for name in start}
    fresh = recipe(refinement=CRF).refinement
    assert fresh is not None
    for name, tensor in fresh.build(num_classes=2).state_dict().items():
        assert not torch.equal(tensor, learned[f"refinement.{name}"]), name
    assert not torch.equal(first["network.fc8.weight"], second["network.fc8.weight"])
    assert isinstance(Segmenter.load(joint).refinement, DenseCRF)


def test_the_first_stage_is_that_of_the_recipe_without_refinement(joint: Path, tmp_path: Path) -> None:
    train(recipe(stages=[{**STAGE, "trains": "network"}]), tmp_path, machine=MACHINE, console=QUIET)
    alone = checkpoint(tmp_path, 1)
    assert all(torch.equal(tensor, alone[name]) for name, tensor in checkpoint(joint, 1).items())


def test_a_run_starts_from_saved_weights_with_the_network_held_still(joint: Path, tmp_path: Path) -> None:
    stages = [{**STAGE, "trains": "refinement"}]
    train(recipe(refinement=CRF, stages=stages, weights=str(joint)), tmp_path, machine=MACHINE, console=QUIET)
    before, after = load_file(joint / "segmenter.safetensors"), load_file(tmp_path / "segmenter.safetensors")
    for name, tensor in before.items():
        assert torch.equal(tensor, after[name]) == name.startswith("network"), name


def test_weights_of_another_network_are_explained(joint: Path, tmp_path: Path) -> None:
    other = {"kind": "deeplab_largefov", "width": 3}
    with pytest.raises(InputError, match=r"weights: .* wanted shape"):
        train(recipe(network=other, weights=str(joint)), tmp_path, machine=MACHINE, console=QUIET)
    with pytest.raises(InputError, match=r"weights: .* was trained with mean .*take over mean"):
        train(recipe(mean=[0.1, 0.1, 0.1], weights=str(joint)), tmp_path, machine=MACHINE, console=QUIET)


@pytest.mark.parametrize("labels", ["target", "superpixels"])
def test_embeddings_learn_alone_from_pairs(labels: str, tmp_path: Path) -> None:
    """Without any loss of scores the network stays as it was drawn, whatever the labels of pairs are."""
    stages = [{**STAGE, "trains": "refinement"}]
    chosen = recipe(
        refinement={**EMBEDDINGS, "pair_labels": labels}, stages=stages, loss={"cross_entropy": 0.0, "dice": 0.0}
    )
    train(chosen, tmp_path, machine=MACHINE, console=QUIET)
    trained = checkpoint(tmp_path, 1)
    torch.manual_seed(chosen.seed)
    fresh = chosen.network.build(num_classes=len(chosen.pairs("val").classes), in_channels=3)
    assert all(torch.equal(tensor, trained[f"network.{name}"]) for name, tensor in fresh.state_dict().items())
    choice = recipe(refinement=EMBEDDINGS).refinement
    pairs_say_nothing = choice.build(in_channels=3, mean=(0.5,) * 3, std=(0.25,) * 3).filter.log_lambda
    assert trained["refinement.filter.log_lambda"] == pairs_say_nothing
    segmenter = Segmenter.load(tmp_path)
    assert isinstance(segmenter.refinement, EmbeddingRefinement)


def test_network_and_filter_learn_end_to_end_and_are_swept(tmp_path: Path) -> None:
    chosen = recipe(refinement=EMBEDDINGS, stages=[{**STAGE, "trains": "all"}])
    train(chosen, tmp_path, machine=MACHINE, console=QUIET)
    assert checkpoint(tmp_path, 1)["refinement.filter.log_lambda"] != 0
    segmenter, pairs = Segmenter.load(tmp_path), chosen.pairs("val")
    evaluation = evaluate(segmenter, pairs)
    assert evaluation.alone is not None
    found = sweep_filter(segmenter, pairs, windows=(3, 5), iterations=(1, 2))
    assert found[5, 2] == pytest.approx(evaluation.counts.confusion.mean_iou(), abs=1e-9)
    segmenter.refinement = None
    assert evaluate(segmenter, pairs).counts.confusion.mean_iou() == evaluation.alone.confusion.mean_iou()
    with pytest.raises(InputError, match="sweep: wanted a model whose refinement is an EmbeddingRefinement"):
        sweep_filter(segmenter, pairs)


def test_embeddings_share_the_networks_trunk(tmp_path: Path) -> None:
    """They learn its layers with it, and leave them alone where the network is held still."""
    shared = {
        "kind": "embedding_filter",
        "trunk": "network",
        "width": None,
        "dimension": 4,
        "window": 5,
        "iterations": 2,
    }
    stages = [{**STAGE, "trains": trains} for trains in ("network", "refinement", "all")]
    train(recipe(refinement=shared, stages=stages), tmp_path, machine=MACHINE, console=QUIET)
    first, second, third = (checkpoint(tmp_path, number) for number in (1, 2, 3))
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())
    weight = "network.trunk.conv1_2.convolution.weight"
    assert not torch.equal(second[weight], third[weight])
    segmenter = Segmenter.load(tmp_path)
    assert shares_trunk(segmenter.refinement, segmenter.network)
    assert segmenter.refinement.embedder.taps == ("conv1_2", "conv2_2", "conv3_3")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"refinement": {**EMBEDDINGS, "trunk": "network", "width": None}, "network": {"kind": "fc_densenet56"}},
            "trunk: wanted a VGG, such as the trunk of deeplab_largefov, received none",
        ),
        ({"stages": [{**STAGE, "trains": "refinement"}]}, "wanted a refinement in the recipe"),
        ({"refinement": {**CRF, "learn": False}, "stages": [{**STAGE, "trains": "refinement"}]}, "nothing learns"),
        ({"refinement": CRF, "network": {"kind": "unet"}}, "wanted a network that scores every pixel"),
        ({"refinement": {"kind": "dense_crf", "theta_alfa": 3.0}}, "did you mean 'theta_alpha'"),
        ({"loss": {"cross_entropy": 0.0}, "refinement": EMBEDDINGS}, "nothing to learn from"),
        (
            {"refinement": {"kind": "dense_crf", "kernels": [{"kind": "bilateral", "theta_beta": [1, 2]}]}},
            "refinement: theta_beta: wanted one width or 3",
        ),
        ({"refinement": {"kind": "dense_crf", "kernels": [{"kind": "feature"}]}}, "refinement: features: wanted 1"),
    ],
)
def test_recipes_that_cannot_be_are_explained(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        train(recipe(**changes), tmp_path, machine=MACHINE, console=QUIET)


def test_a_refinement_is_chosen_by_a_flag() -> None:
    chosen = find_recipe("sample_fc_densenet56", ["--refinement.kind", "dense_crf", "--refinement.theta_beta", "5"])
    assert chosen.refinement is not None
    assert (chosen.refinement.kind, chosen.refinement.kernels[1].theta_beta) == ("dense_crf", (5.0,) * 3)
    kept = find_recipe("camvid_deeplab_crf_cpu", ["--refinement.kind", "embedding_filter"])
    assert kept.refinement is not None
    assert kept.refinement.kind == "embedding_filter"
