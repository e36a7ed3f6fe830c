"""What a stage lowers, and the weights of its pixels, also in loader workers however they are started."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

from densefield import losses
from densefield.checks import InputError
from densefield.classes import ClassList
from densefield.networks import deeplab_largefov
from densefield.refine import DenseCRF
from densefield.runs.files import validated
from densefield.runs.objective import (
    _where_they_lie,
    border_weights,
    build_loss,
    build_objective,
    check_class_weights,
    counted_class_weights,
)
from densefield.runs.recipe import Trains
from densefield.runs.sections import Loss
from densefield.runs.train import Machine, train
from densefield.segmenter import Segmenter
from densefield.training import Objective


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


def test_border_weights_tell_touching_cells_apart_by_their_instances() -> None:
    instances = np.zeros((20, 20), np.uint16)
    instances[:, :9], instances[:, 9:15], instances[:, 18:] = 1, 300, 255  # the last: not labelled
    target = np.where(instances == 255, 255, instances > 0).astype(np.uint8)
    weigh = border_weights(Loss(border=10.0), None, 2)
    assert weigh is not None
    weights = weigh(target, instances)
    np.testing.assert_array_equal(weights, losses.border_weights(np.where(instances == 255, 0, instances)))
    assert weights[10, 8] == pytest.approx(1 + 10 * np.exp(-1 / 50), rel=1e-6)  # equation 2: distances 0 and 1
    assert (weigh(target) == 1).all()  # of one cell alone there is no second
    # Where the target has no cell, whatever the reason, the instances have none.
    target[:, 7:11] = 0
    np.testing.assert_array_equal(weigh(target, instances), losses.border_weights(np.where(target == 1, instances, 0)))


class Heads(nn.Module):
    """A network whose answer has the image's size, with a head at stride 4 and one at stride 1."""

    in_channels, num_classes = 3, 2
    all_strides = (1, 4, 1)

    def __init__(self) -> None:
        super().__init__()
        self.main, self.coarse, self.fine = nn.Conv2d(3, 2, 3, padding=1), nn.Conv2d(3, 2, 1), nn.Conv2d(3, 2, 1)

    def forward(self, image: Tensor) -> Tensor:
        return self.main(image)

    def all_scores(self, image: Tensor) -> tuple[Tensor, ...]:
        picked = torch.nn.functional.pad(image[:, :, ::4, ::4], (0, 1, 0, 0))  # one column beyond the image
        return self.main(image), self.coarse(picked), self.fine(image)


def objective_of(network: nn.Module, trains: Trains, **loss: float | str) -> tuple[Segmenter, Objective]:
    recipe = validated(
        {
            "name": "heads",
            "network": {"kind": "unet"},
            "data": {"kind": "samples"},
            "loss": loss,
            "refinement": {"kind": "dense_crf", "iterations": 1} if trains == "refinement" else None,
            "stages": [{"epochs": 1}],
        },
        "heads",
    )
    refinement = DenseCRF(2, iterations=1) if trains == "refinement" else None
    classes = ClassList(("a", "b"), ((0, 0, 0), (1, 1, 1)))
    segmenter = Segmenter(network, classes, mean=(0.0,) * 3, std=(1.0,) * 3, refinement=refinement)
    return segmenter, build_objective(recipe, trains, segmenter, None)


@pytest.mark.parametrize("size", [(17, 22), (33, 41)])
@pytest.mark.parametrize(("said", "auxiliary"), [({"auxiliary": 0.3}, 0.3), ({}, 1)])  # left out it is 1
def test_scales_and_heads_are_summed_each_at_its_own_pixels(
    size: tuple[int, int], said: dict[str, float], auxiliary: float
) -> None:
    image, target = torch.rand(2, 3, *size), torch.randint(0, 2, (2, *size))
    target[:, :5, :5] = 255
    weights = torch.rand(2, *size)
    network = Heads()
    _, objective = objective_of(network, "network", dice=0.5, **said)
    found = objective({"image": image, "target": target, "pixel_weights": weights})
    loss = build_loss(Loss(dice=0.5), None)
    coarse = network.coarse(image[:, :, ::4, ::4])
    wanted = loss(network.main(image), target, weights)
    wanted = wanted + auxiliary * loss(coarse, target[:, ::4, ::4], weights[:, ::4, ::4])
    wanted = wanted + auxiliary * loss(network.fine(image), target, weights)
    torch.testing.assert_close(found, wanted)
    gradients = torch.autograd.grad(found, list(network.parameters()))
    assert all(bool(gradient.any()) for gradient in gradients)


def test_heads_are_not_asked_where_they_do_not_count() -> None:
    image, target = torch.rand(1, 3, 9, 8), torch.randint(0, 2, (1, 9, 8))
    network = Heads()
    _, objective = objective_of(network, "network", auxiliary=0.0)
    objective({"image": image, "target": target}).backward()
    assert network.main.weight.grad is not None
    assert network.coarse.weight.grad is None
    segmenter, objective = objective_of(network, "refinement")
    alone = build_loss(Loss(), None)(segmenter.refinement(network(image), image), target, None)
    torch.testing.assert_close(objective({"image": image, "target": target}), alone)


def test_a_sum_over_pixels_is_the_mean_times_their_number() -> None:
    scores, target = torch.randn(2, 3, 4, 5, dtype=torch.float64), torch.randint(0, 3, (2, 4, 5))
    target[0, 0] = 255
    found, mean = (build_loss(Loss(reduction=how), None)(scores, target, None) for how in ("sum", "mean"))
    assert float(found) == pytest.approx(35 * float(mean), rel=1e-12)


def test_written_class_weights_are_taken_as_they_are_and_must_be_one_a_class(tmp_path: Path) -> None:
    console = Console(quiet=True)
    written = Loss(class_weights=(0.5, 9.6446, 0.0))
    weights = counted_class_weights(written, [], 3, console)  # type: ignore[arg-type]  # no targets are looked at
    assert weights is not None
    assert weights.tolist() == torch.tensor([0.5, 9.6446, 0.0]).tolist()
    check_class_weights(written, ("sky", "road", "car"))
    line = r"loss\.class_weights: wanted 2 numbers, one for each of sky, road; received 3"
    with pytest.raises(InputError, match=line):
        check_class_weights(written, ("sky", "road"))
    plain = {
        "name": "short",
        "network": {"kind": "unet", "padding": "same", "width": 1},
        "data": {"kind": "samples", "size": 32, "scenes": 2, "held_out_size": 32, "held_out_scenes": 1},
        "loss": {"class_weights": [1.0, 2.0]},
        "stages": [{"steps": 1}],
    }
    with pytest.raises(InputError, match=r"loss\.class_weights: wanted 3 numbers"):
        train(validated(plain, "short"), tmp_path / "run", console=console)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("loss", "line"),
    [
        ({"class_weights": [0.0, 0.0]}, "class_weights: all are 0; wanted at least one class to learn"),
        ({"class_weights": [1.0, -1.0]}, r"class_weights: wanted none, .* or numbers from 0 .*received \[1.0, -1.0\]"),
        ({"class_weights": "median"}, r"class_weights: wanted none, median_frequency or numbers .*received 'median'"),
        ({"class_weights": [1.0, "two"]}, r"class_weights: wanted none, .*'two'"),
        ({"reduction": "sum", "cross_entropy": 0.0, "dice": 1.0}, "reduction: is the cross-entropy's, which is 0"),
        ({"reduction": "none"}, "loss.reduction"),
        ({"at": "pixels"}, "loss.at"),
    ],
)
def test_a_loss_that_means_nothing_is_one_line(loss: dict[str, object], line: str) -> None:
    plain = {"name": "x", "network": {"kind": "unet"}, "data": {"kind": "samples"}, "stages": [{"epochs": 1}]}
    with pytest.raises(InputError, match=line) as error:
        validated({**plain, "loss": loss}, "x")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("scales", [(1.0,), (0.5, 1.0)])
def test_at_scores_is_the_loss_before_they_are_enlarged(scales: tuple[float, ...]) -> None:
    """Enlarged with corners aligned, a score stays what it was at its own pixel."""
    network = deeplab_largefov(2, width=2, dropout=0.0, scales=scales).eval()
    image, target = torch.rand(2, 3, 33, 41), torch.randint(0, 2, (2, 33, 41))
    target[:, :9, :9] = 255
    weights = torch.rand(2, 33, 41)
    batch = {"image": image, "target": target, "pixel_weights": weights}
    _, objective = objective_of(network, "network", at="scores", auxiliary=0.5)
    own, loss = (slice(None), slice(None, None, 8), slice(None, None, 8)), build_loss(Loss(), None)
    answer, *others = network.all_scores(image)
    wanted = loss(answer[:, :, ::8, ::8], target[own], weights[own])
    for scores, stride in zip(others, network.all_strides[1:], strict=True):
        wanted = wanted + 0.5 * loss(scores, target[:, ::stride, ::stride], weights[:, ::stride, ::stride])
    torch.testing.assert_close(objective(batch), wanted)
    _, alone = objective_of(network, "network", at="scores", auxiliary=0.0)
    torch.testing.assert_close(alone(batch), loss(answer[:, :, ::8, ::8], target[own], weights[own]))


def test_a_loss_at_the_scores_wants_scores_that_are_coarse_and_nothing_behind_them() -> None:
    with pytest.raises(InputError, match=r"loss\.at: scores: Heads has a score for every pixel; leave it out"):
        objective_of(Heads(), "network", at="scores")
    with pytest.raises(InputError, match=r"loss\.at: scores: a refinement wants every pixel's"):
        objective_of(deeplab_largefov(2, width=2), "refinement", at="scores")


def test_a_network_that_does_not_say_where_its_scores_lie_is_refused() -> None:
    image, target = torch.rand(1, 3, 9, 8), torch.randint(0, 2, (1, 9, 8))
    network = Heads()
    _, objective = objective_of(network, "network")
    network.all_strides = (1, 4)
    with pytest.raises(InputError, match=r"all_strides: wanted the strides of the 3 scores .*received \(1, 4\)"):
        objective({"image": image, "target": target})


@pytest.mark.parametrize(
    ("length", "count", "stride"),
    [
        (321, 41, 8),
        (321, 21, 16),
        (322, 42, 8),
        (322, 41, 8),
        (473, 60, 8),
        (49, 3, 24),
        (360, 360, 1),
        (33, 2, 32),
        (7, 1, 8),
        (1, 1, 1),
    ],
)
def test_targets_are_those_of_the_scores_own_pixels(length: int, count: int, stride: int) -> None:
    target = torch.arange(length)[None, :, None].expand(1, length, 1)
    scores, own, _ = _where_they_lie(torch.zeros(1, 2, count, 1), stride, target, None)
    assert own[0, :, 0].tolist() == [row * stride for row in range(count) if row * stride < length]
    assert scores.shape[2:] == own.shape[1:]


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
