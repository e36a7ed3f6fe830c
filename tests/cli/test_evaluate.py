"""`densefield evaluate` of models with and without a refinement."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from densefield.cli.app import run
from densefield.data import SampleScenes
from densefield.data.sample import Sample
from densefield.networks import deeplab_largefov, embedding_network
from densefield.refine import EmbeddingFilter, EmbeddingRefinement
from densefield.runs.files import validated, write_recipe
from densefield.segmenter import Segmenter

MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
RECIPE = validated(
    {
        "name": "tiny",
        "network": {"kind": "deeplab_largefov", "width": 2},
        "data": {"kind": "samples", "size": 32, "scenes": 2, "held_out_size": 32, "held_out_scenes": 2},
        "stages": [{"epochs": 1}],
    },
    "tiny",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    classes = RECIPE.pairs("val").classes
    Segmenter(deeplab_largefov(len(classes), width=2), classes, mean=MEAN, std=STD).save(
        tmp_path / "segmenter.safetensors"
    )
    write_recipe(RECIPE, tmp_path / "recipe.yaml")
    return tmp_path


def test_a_crf_is_put_behind_a_plain_model(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["evaluate", str(folder), "--preset", "deeplab-v1", "--alpha", "20", "--iterations", "2"]) == 0
    shown = capsys.readouterr().out
    for wanted in ("IoU alone", "IoU refined", "network alone: mean IoU", "refined:       mean IoU"):
        assert wanted in shown
    assert shown.count("1 px") == 2
    assert "refined" in (folder / "report-val.html").read_text()


def test_a_learned_filter_is_swept(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    segmenter = Segmenter.load(folder)
    network = embedding_network(3, dimension=3, taps=("image", "conv1_1"), width=2)
    segmenter.refinement = EmbeddingRefinement(network, EmbeddingFilter(3, 1), mean=MEAN, std=STD)
    segmenter.save(folder / "segmenter.safetensors")
    assert run(["evaluate", str(folder), "--sweep"]) == 0
    shown = capsys.readouterr().out
    assert "mean IoU by window and iterations" in shown
    assert "11 x 11" in shown


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--sweep"], "wanted a model whose refinement is an EmbeddingRefinement, received none"),
        (["--alpha", "3"], "wanted a --preset with them"),
        (["--iterations", "3"], "iterations: are the dense CRF's; wanted a --preset with them"),
        (["--tile", "0"], "tile: wanted at least one pixel, received 0"),
        (["--out", "."], ".: is a folder; wanted an HTML file"),
    ],
)
def test_flags_that_do_not_fit_are_explained(
    folder: Path, capsys: pytest.CaptureFixture[str], flags: list[str], message: str
) -> None:
    assert run(["evaluate", str(folder), *flags]) == 2
    captured = capsys.readouterr()
    assert message in " ".join(captured.err.split())
    assert "IoU" not in captured.out


def test_of_numbered_cells_seg_is_printed_and_reported(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cells = np.zeros((32, 32), np.uint16)
    cells[2:9, 3:12], cells[20:28, 4:30] = 1, 400
    for place, pixels in (
        ("01", 100 + cells % 99),
        ("02", 100 + cells % 99),
        ("01_GT/SEG", cells),
        ("02_GT/SEG", cells),
    ):
        (folder / "set" / place).mkdir(parents=True)
        name, kind = ("man_seg000.tif", np.uint16) if "SEG" in place else ("t000.tif", np.uint8)
        Image.fromarray(pixels.astype(kind)).save(folder / "set" / place / name)
    recipe = RECIPE.changed(data={"kind": "cell_tracking", "root": str(folder / "set")})
    write_recipe(recipe, folder / "recipe.yaml")
    classes = recipe.pairs("val").classes
    Segmenter(deeplab_largefov(2, width=2), classes, mean=MEAN, std=STD).save(folder / "segmenter.safetensors")
    assert run(["evaluate", str(folder), "--preset", "deeplab-v1", "--iterations", "1"]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"network alone: SEG 0\.\d{4} over 2 cells\nrefined:       SEG 0\.\d{4} over 2 cells", shown)
    assert "over 2 cells" in (folder / "report-val.html").read_text()


def test_a_split_without_a_labelled_pixel_is_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    unlabelled = Sample(np.zeros((32, 32, 3), np.uint8), np.full((32, 32), 255, np.uint8), "scene")
    monkeypatch.setattr(SampleScenes, "__getitem__", lambda self, index: unlabelled)
    assert run(["evaluate", str(folder)]) == 2
    assert "no pixel of these 2 images is labelled" in capsys.readouterr().err


def test_several_sizes_and_mirror_images_are_measured_and_told(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["evaluate", str(folder), "--scales", "0.75,1", "--flip", "--preset", "deeplab-v1"]) == 0
    assert "refined:       mean IoU" in capsys.readouterr().out
    assert "0.75, 1 and mirrored" in (folder / "report-val.html").read_text()
    assert run(["evaluate", str(folder), "--scales", "0.75,one"]) == 2
    shown = capsys.readouterr()
    assert "--scales: wanted numbers from 0.05 to 20" in shown.err
    assert "Traceback" not in shown.out + shown.err
