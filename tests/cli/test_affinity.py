from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from densefield.classes import ClassList
from densefield.cli.app import run
from densefield.draw import draw_affinity
from densefield.images import read_image
from densefield.networks import embedding_network, unet
from densefield.refine import EmbeddingFilter, EmbeddingRefinement
from densefield.segmenter import Segmenter

CLASSES = ClassList(("ground", "thing"), ((0, 0, 0), (255, 0, 0)))
MEAN, STD = (0.5,) * 3, (0.25,) * 3


def refinement() -> EmbeddingRefinement:
    torch.manual_seed(0)
    chosen = EmbeddingFilter(5, rate=2, initial_lambda=0.2, distance="l2")
    return EmbeddingRefinement(embedding_network(dimension=4, width=2), chosen, mean=MEAN, std=STD).eval()


def save(path: Path, chosen: EmbeddingRefinement | None) -> Path:
    network = unet(2, 3, padding="same", width=2)
    Segmenter(network, CLASSES, mean=MEAN, std=STD, refinement=chosen).save(path)
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save(tmp_path / "model.safetensors", refinement())


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 700, 3), dtype=np.uint8)).save(path)
    return path


@pytest.mark.parametrize(("row", "column"), [(12, 30), (0, 699), (39, 401)])
def test_draws_what_the_filter_of_the_model_does(model: Path, photo: Path, row: int, column: int) -> None:
    """The masks are those of the whole image, though only the pixel's surroundings were looked at."""
    out = photo.parent / "new" / "affinity.png"
    command = ["affinity", str(model), str(photo), "--pixel", str(row), str(column), "--out", str(out)]
    assert run([*command, "--device", "cpu"]) == 0
    image = read_image(photo)
    with torch.no_grad():
        embeddings = refinement().embeddings(torch.from_numpy(image).permute(2, 0, 1)[None] / 255)[0]
    wanted = draw_affinity(image, embeddings, row, column, window=5, rate=2, scale=0.2, distance="l2")
    drawn = read_image(out)
    assert drawn.shape == wanted.shape
    panel = (drawn.shape[1] - 5 * 8) // 4
    for number in (0, 2, 3):  # what colors embeddings get is decided by the surroundings
        left = 8 + number * (panel + 8)
        ours, whole = (sheet[:, left : left + panel].astype(int) for sheet in (drawn, wanted))
        assert np.abs(ours - whole).max() <= 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--pixel", "40", "0"], "--pixel: wanted a row of 0 to 39"),
        (["--pixel", "0", "700"], "--pixel: wanted a column of 0 to 699"),
        (["--pixel", "0", "0", "--window", "4"], "window: wanted an odd number"),
    ],
)
def test_a_wrong_argument_is_one_line(
    model: Path, photo: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = photo.parent / "affinity.png"
    assert run(["affinity", str(model), str(photo), *arguments, "--out", str(out)]) == 2
    assert message in capsys.readouterr().err
    assert not out.exists()


def test_a_model_without_embeddings_is_named(tmp_path: Path, photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = save(tmp_path / "plain.safetensors", None)
    assert run(["affinity", str(plain), str(photo), "--pixel", "0", "0", "--out", str(tmp_path / "a.png")]) == 2
    assert "plain.safetensors: wanted a segmenter whose refinement is an embedding" in capsys.readouterr().err


def test_the_image_is_not_overwritten(model: Path, photo: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = photo.read_bytes()
    assert run(["affinity", str(model), str(photo), "--pixel", "0", "0", "--out", str(photo)]) == 2
    assert "--out: wanted another file" in capsys.readouterr().err
    assert run(["affinity", str(model), str(photo), "--pixel", "0", "0", "--out", str(photo.with_suffix(".gif"))]) == 2
    assert "--out: wanted a .png file" in capsys.readouterr().err
    assert photo.read_bytes() == before
