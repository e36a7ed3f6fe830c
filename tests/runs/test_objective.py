"""What a stage lowers, and the weights of its pixels, also in loader workers however they are started."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from densefield.checks import InputError
from densefield.runs.files import validated
from densefield.runs.objective import border_weights, build_loss
from densefield.runs.sections import Loss
from densefield.runs.train import Machine, train


def test_the_loss_is_the_weighted_sum() -> None:
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(2, 3, 4, 5, generator=generator, dtype=torch.float64)
    target = torch.randint(0, 3, (2, 4, 5), generator=generator)
    parts = [build_loss(Loss(cross_entropy=ce, dice=d), None)(scores, target, None) for ce, d in ((1, 0), (0, 1))]
    both = build_loss(Loss(cross_entropy=0.5, dice=2.0), None)(scores, target, None)
    assert float(both) == pytest.approx(0.5 * float(parts[0]) + 2.0 * float(parts[1]))
    assert float(parts[0]) == pytest.approx(float(torch.nn.functional.cross_entropy(scores, target)), rel=1e-9)
    weights = torch.tensor([0.2, 1.0, 3.0])
    weighted = build_loss(Loss(class_weights="median_frequency"), weights)(scores, target, None)
    wanted = torch.nn.functional.cross_entropy(scores, target, weights.double())
    assert float(weighted) == pytest.approx(float(wanted), rel=1e-9)


def test_a_loss_of_nothing_is_an_error() -> None:
    with pytest.raises(InputError, match="nothing to learn"):
        build_loss(Loss(cross_entropy=0.0), None)


def test_border_weights_hold_the_class_weights() -> None:
    target = np.zeros((20, 21), np.uint8)
    target[:, :9] = target[:, 12:] = 1
    weigh = border_weights(Loss(class_weights="median_frequency", border=10.0), torch.tensor([2.0, 0.5]), 2)
    assert weigh is not None
    weights = weigh(target)
    # equation 2 in the gap's middle column: distances 2 and 2 to the two cells
    assert weights[10, 10] == pytest.approx(2.0 + 10 * np.exp(-((2 + 2) ** 2) / (2 * 25)), rel=1e-7)
    assert border_weights(Loss(), None, 3) is None
    with pytest.raises(InputError, match="two classes"):
        border_weights(Loss(border=1.0), None, 3)


@pytest.fixture
def start_method(request: pytest.FixtureRequest) -> Iterator[None]:
    usual = multiprocessing.get_start_method(allow_none=True)
    multiprocessing.set_start_method(request.param, force=True)
    yield
    multiprocessing.set_start_method(usual, force=True)


@pytest.mark.parametrize("start_method", multiprocessing.get_all_start_methods(), indirect=True)
def test_border_weights_train_under_every_start_method(start_method: None, tmp_path: Path) -> None:
    recipe = validated(
        {
            "name": "cells",
            "network": {"kind": "unet", "padding": "same", "width": 1},
            "data": {
                "kind": "samples",
                "size": 32,
                "scenes": 2,
                "held_out_size": 32,
                "held_out_scenes": 1,
                "digits": [3],
            },
            "loss": {"border": 10.0, "class_weights": "median_frequency"},
            "stages": [{"epochs": 1, "batch_size": 2, "augmentation": {"elastic": 2, "dihedral": True}}],
        },
        "cells",
    )
    machine = Machine(accelerator="cpu", devices=1, workers=1, bar=False)
    train(recipe, tmp_path / "run", machine=machine, console=Console(quiet=True))
    assert (tmp_path / "run" / "segmenter.safetensors").exists()
