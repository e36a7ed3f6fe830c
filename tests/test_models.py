"""The weights that ship with the project."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from densefield.data import CamVid
from densefield.metrics import ConfusionMatrix
from densefield.segmenter import Segmenter

MODEL = Path(__file__).parents[1] / "models" / "camvid_fc_densenet56.safetensors"


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter.load(MODEL)


def test_the_camvid_weights_are_half_precision_and_load_as_the_papers_network(segmenter: Segmenter) -> None:
    assert MODEL.stat().st_size < 4_000_000
    assert sum(parameter.numel() for parameter in segmenter.network.parameters()) == 1_376_795
    assert {parameter.dtype for parameter in segmenter.parameters()} == {torch.float32}
    assert segmenter.classes.names == CamVid.classes.names
    labels = segmenter(np.zeros((45, 60, 3), np.uint8))
    assert labels.shape == (45, 60)


def test_the_camvid_weights_segment_frames_that_training_never_saw(segmenter: Segmenter, camvid_root: Path) -> None:
    frames = CamVid(camvid_root, "val")
    confusion = ConfusionMatrix(11)
    for index in (0, 40, 80):
        image, target, _ = frames[index]
        confusion.update(segmenter(image), target)
    assert confusion.pixel_accuracy() > 0.8  # docs/results.md has the figure over all frames
