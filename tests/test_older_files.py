"""Files that version 0.1.0 wrote before its builders described themselves: recipes, segmenters, runs to go on with."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from densefield.recipes import find_recipe
from densefield.refine import DenseCRF, EmbeddingRefinement
from densefield.runs.files import read_recipe
from densefield.runs.train import Machine, train
from densefield.segmenter import Segmenter
from densefield.segmenter.description import shares_trunk

WRITTEN = Path(__file__).parent / "older" / "0.1.0"
MACHINE = Machine(accelerator="cpu", devices=1, workers=0, bar=False)


def picture() -> npt.NDArray[np.uint8]:  # (24, 30, 3)
    y, x = np.mgrid[:24, :30]
    return np.stack([(y * 9) % 256, (x * 7) % 256, (x * y) % 256], -1).astype(np.uint8)


@pytest.mark.parametrize("name", sorted(path.stem for path in (WRITTEN / "recipes").glob("*.yaml")))
def test_a_built_in_recipe_s_file_means_the_recipe_of_today(name: str) -> None:
    place = {"camvid": "data/camvid", "cell_images": "data/isbi2012-em"}.get(find_recipe(name).data.kind)
    today = find_recipe(name, ["--data.root", place] if place else [])
    usual = {"mean": today.mean or (0.5,) * 3, "std": today.std or (0.25,) * 3}  # which were written even then
    assert read_recipe(WRITTEN / "recipes" / f"{name}.yaml") == today.changed(**usual)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("alone", type(None)),
        ("dense_crf", DenseCRF),
        ("plain_crf", DenseCRF),
        ("embeddings", EmbeddingRefinement),
        ("shared_trunk", EmbeddingRefinement),
    ],
)
def test_a_segmenter_is_the_same(name: str, kind: type[Any], tmp_path: Path) -> None:
    segmenter = Segmenter.load(WRITTEN / name)
    assert type(segmenter.refinement) is kind
    assert shares_trunk(segmenter.refinement, segmenter.network) == (name == "shared_trunk")
    # Another machine's convolutions round otherwise: some hundred sums of some hundred numbers, of scores near one.
    wanted = torch.from_numpy(np.load(WRITTEN / name / "scores.npy"))
    assert float((segmenter.scores(picture()) - wanted).abs().max()) < 1e-3
    segmenter.save(tmp_path)
    again = Segmenter.load(tmp_path)
    assert torch.equal(again.scores(picture()), segmenter.scores(picture()))
    kinds = json.loads((tmp_path / "config.json").read_text())["segmenter"]["refinement"]
    assert (kinds or {}).get("kind") in (None, "dense_crf", "embedding_filter")


@pytest.mark.parametrize("name", ["run", "embedded"])
def test_a_run_goes_on(name: str, tmp_path: Path) -> None:
    folder = tmp_path / name
    shutil.copytree(WRITTEN / name, folder)
    recipe = read_recipe(folder / "recipe.yaml")
    *before, last = recipe.stages
    longer = recipe.changed(stages=(*before, last.changed(epochs=2)))
    began = load_file(folder / "segmenter.safetensors")
    console = Console(record=True, width=200)
    train(longer, folder, resume=True, machine=MACHINE, console=console)
    assert f"stages.{len(before)}.epochs was 1, now 2" in console.export_text()
    table = (folder / f"stage-{len(recipe.stages)}" / "metrics.csv").read_text()
    assert {line.split(",")[0] for line in table.splitlines()[1:]} >= {"1", "2"} or "2" in table
    assert load_file(folder / "segmenter.safetensors").keys() == began.keys()
    assert read_recipe(folder / "recipe.yaml") == longer
