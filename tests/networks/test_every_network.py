"""What the packages above rely on, of every network that gives scores: any batch, any size, saved and loaded."""

from __future__ import annotations

import inspect
import itertools
from pathlib import Path
from typing import Any

import pytest
import torch

from densefield.classes import ClassList
from densefield.networks.pretrained import LIBRARIES
from densefield.protocols import all_scores
from densefield.segmenter import Segmenter
from densefield.segmenter.description import NETWORKS
from geometry import awake

SCORING = {
    kind: builder
    for kind, builder in NETWORKS.builders.items()
    if "num_classes" in inspect.signature(builder).parameters and kind not in (*LIBRARIES, "python")
}  # those of libraries have tests of their own
SCALES = (0.5, 0.75, 1.0)
OPTIONS: dict[str, list[dict[str, Any]]] = {
    "unet": [{"padding": "same"}],  # that of valid convolutions takes certain sizes only: test_unet.py
    "deeplab_4x4": [{}, {"rate": 8}, {"scales": SCALES}, {"align_corners": False}],
    "deeplab_largefov": [{}, {"scales": SCALES}, {"scales": SCALES, "align_corners": False}, {"batch_norm": True}],
    "deeplab_resnet101": [{}, {"scales": SCALES}, {"scales": SCALES, "align_corners": False}, {"rates": (12,)}],
    "dilation8": [{}, {"context": "large"}],
    "fcn8s": [{}, {"deconvolution": "learned"}],
    "pspnet101": [{}, {"auxiliary": False}],
    "segnet": [{}, {"bayesian": True}],
}
CASES = [(kind, options) for kind in SCORING for options in OPTIONS.get(kind, [{}])]


@pytest.mark.parametrize(("kind", "options"), CASES, ids=[f"{kind}-{options}" for kind, options in CASES])
def test_scores_any_batch_and_size_and_comes_back_from_a_file(
    tmp_path: Path, kind: str, options: dict[str, Any]
) -> None:
    build = SCORING[kind]
    small = {"width": 1} if "width" in inspect.signature(build).parameters else {}
    network = awake(build(2, 3, **small, **options)).float()  # score layers of fresh ones may be zero
    for name, statistics in network.named_buffers():
        if name.endswith("running_var"):
            statistics.uniform_(0.5, 1)
    for batch, (height, width) in itertools.product((0, 1, 2), ((1, 1), (1, 7), (33, 47))):
        with torch.no_grad():
            made = all_scores(network, torch.rand(batch, 3, height, width))
        assert made[0][1] == 1  # the answer, at every pixel
        for scores, stride in made:
            assert scores.shape == (batch, 2, (height - 1) // stride + 1, (width - 1) // stride + 1)
            assert scores.isfinite().all()
    segmenter = Segmenter(network, ClassList(("a", "b"), ((0, 0, 0), (1, 1, 1))), mean=(0.5,) * 3, std=(0.2,) * 3)
    segmenter.save(tmp_path / "a.safetensors")
    image = torch.rand(3, 33, 47)
    scores = segmenter.scores(image)
    assert (scores.std((1, 2)) > 1e-6).all()  # else any network would give them
    assert torch.equal(Segmenter.load(tmp_path / "a.safetensors").scores(image), scores)
