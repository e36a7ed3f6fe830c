"""Every key of a recipe is used or refused, and every number has bounds."""

from __future__ import annotations

import typing
from typing import Annotated, Any

import annotated_types
import pytest
import torch
from pydantic import BaseModel
from torch import nn

from densefield.checks import InputError
from densefield.recipes import find_recipe
from densefield.runs.files import validated
from densefield.runs.kinds import OPTIMIZERS, SCHEDULES
from densefield.runs.recipe import Recipe

PLAIN: dict[str, Any] = {
    "name": "x",
    "network": {"kind": "deeplab_largefov", "width": 8},
    "data": {"kind": "samples"},
    "stages": [{"epochs": 1}],
}


def stage(**changes: Any) -> dict[str, Any]:
    return {"stages": [{"epochs": 1, **changes}]}


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        (
            stage(optimizer={"kind": "sgd", "eps": 1e-3}),
            r"stages\.0\.optimizer\.eps: sgd does not take it, only adam, adamw, rmsprop; leave it out",
        ),
        (stage(optimizer={"kind": "sgd", "alpha": 0.9}), "alpha: sgd does not take it, only rmsprop"),
        (stage(optimizer={"kind": "adam", "alpha": 0.9}), "alpha: adam does not take it"),
        (stage(optimizer={"kind": "adam", "momentun": 0.9}), "momentun'; did you mean 'momentum'"),
        (stage(schedule={"kind": "cosine", "gamma": 0.5}), "gamma: cosine does not take it, only exponential, step"),
        (stage(schedule={"kind": "cosine", "every": 3}), "every: cosine does not take it"),
        (stage(schedule={"power": 2.0}), "power: constant does not take it, only poly"),
        (stage(schedule={"kind": "poly", "warmup": 0.1}), "warmup: poly does not take it"),
        ({"network": {"kind": "unet", "rate": 3}}, r"network\.rate: unet does not take it, only .*deeplab_largefov"),
        (
            {"network": {"kind": "deeplab_resnet101", "rate": 12}},
            r"rate: deeplab_resnet101 does not take it, only .*; did you mean 'rates'\?",
        ),
        ({"network": {"kind": "deeplab_resnet101", "rates": 12}}, r"rates: wanted a list, such as \[12\], received 12"),
        ({"network": {"knid": "unet"}}, r"the key 'network\.kind' is missing \(is 'knid' meant\?\)"),
        ({"network": {"kind": "unet", "batchnorm": True}}, "did you mean 'batch_norm'"),
        ({"network": {"kind": "unet", "width": 0}}, r"network\.width: .*greater than 0"),
        ({"network": {"kind": "unet", "num_classes": 3}}, "unknown key 'network.num_classes'"),
        (stage(augmentation={"flip": True, "dihedral": True}), "flip: dihedral holds every mirroring"),
        (stage(augmentation={"scale": [1.5, 0.5]}), "scale: wanted the smaller factor first"),
        (stage(optimizer={"groups": [{"pattern": "("}]}), r"pattern: not a regular expression"),
        ({"loss": {"border_sigma": 3.0}}, "border_sigma: there are no border weights"),
        ({"loss": {"border": 10.0, "cross_entropy": 0.0, "dice": 1.0}}, "border: weighs the cross-entropy, which is 0"),
        (
            {"loss": {"class_weights": "median_frequency", "cross_entropy": 0.0, "dice": 1.0}},
            "class_weights: weighs the cross-entropy",
        ),
        (
            {"refinement": {"kind": "embedding_filter", "trunk": "network", "width": 8}},
            r"refinement\.embedder\.width: shared_trunk does not take it, only embedding_network",
        ),
        (
            {"refinement": {"kind": "embedding_filter", "trunk": "network", "batch_norm": True}},
            r"refinement\.embedder\.batch_norm: shared_trunk does not take it",
        ),
        (
            {"refinement": {"kind": "embedding_filter", "pair_loss": 0.0, "pair_window": 5}},
            "pair_window: there are no pair losses",
        ),
        ({"loss": {"pair_window": 5}}, "loss.pair_window: belongs to an embedding filter"),
        ({"refinement": {"kind": "dense_crf", "kernels": [{"kind": "cone"}]}}, r"kernels\.0\.kind: there is no 'cone'"),
        (
            {"refinement": {"kind": "dense_crf", "kernels": [{"kind": "spatial", "theta_beta": 3}]}},
            r"kernels\.0\.theta_beta: spatial does not take it, only bilateral",
        ),
        ({"mean": [0.5], "std": [0.2, 0.2]}, "std: wanted 1 values"),
        (
            {"data": {"scenes": 4}},
            r"key 'data\.kind' is missing; wanted one of: camvid, cell_images, .*folder, .*samples, .*voc",
        ),
        (stage(augmentation={"elastic": 1e10}), r"stages\.0\.augmentation\.elastic: .*less than or equal to 1000"),
        (stage(augmentation={"elastic": float("inf")}), r"stages\.0\.augmentation\.elastic: .*finite"),
    ],
)
def test_a_key_that_nothing_would_read_is_refused(changes: dict[str, Any], line: str) -> None:
    with pytest.raises(InputError, match=line) as caught:
        validated({**PLAIN, **changes}, "r.yaml")
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("r.yaml: ")


def optimizer(**plain: Any) -> torch.optim.Optimizer:
    built: torch.optim.Optimizer = OPTIMIZERS.build(plain, "optimizer", module=nn.Linear(2, 2))
    return built


def test_an_optimizer_gets_what_its_recipe_says() -> None:
    rms = optimizer(kind="rmsprop", momentum=0.5).defaults
    assert (rms["momentum"], rms["alpha"], rms["eps"]) == (0.5, 0.9, 1e-6)
    assert optimizer(kind="rmsprop").defaults["momentum"] == 0
    assert optimizer(kind="sgd").defaults["momentum"] == 0.9
    assert optimizer(kind="sgd", momentum=0.0).defaults["momentum"] == 0
    adam = optimizer(kind="adam", momentum=0.8, eps=1e-4)
    assert isinstance(adam, torch.optim.Adam)
    assert (adam.defaults["betas"], adam.defaults["eps"]) == ((0.8, 0.999), 1e-4)
    assert isinstance(optimizer(learning_rate=0.1), torch.optim.AdamW)
    groups = optimizer(kind="sgd", groups=[{"pattern": "bias", "factor": 10}]).param_groups
    assert sorted(group["lr"] for group in groups) == [1e-3, 1e-2]


def test_a_schedule_without_warmup_begins_at_its_peak() -> None:
    begin = {"step": 0, "total_steps": 100, "steps_per_epoch": 10}
    assert SCHEDULES.build({"kind": "cosine", "warmup": 0.0}, "schedule", **begin) == 1.0
    assert SCHEDULES.build({"kind": "cosine"}, "schedule", **begin) == pytest.approx(1 / 5)
    assert SCHEDULES.build({}, "schedule", **begin) == 1.0


def test_another_optimizer_or_schedule_drops_the_keys_that_it_does_not_know() -> None:
    flags = ["--stages.0.optimizer.kind", "sgd", "--stages.0.schedule.kind", "cosine"]
    recipe = find_recipe("camvid_fc_densenet56", [*flags, "--stages.0.optimizer.rate", "0.5"])
    assert recipe.stages[0].optimizer == OPTIMIZERS.read(
        {"kind": "sgd", "learning_rate": 0.5, "weight_decay": 1e-4}, ""
    )
    assert recipe.stages[0].schedule == SCHEDULES.read({"kind": "cosine"}, "")


def numbers(annotation: Any, bounds: tuple[Any, ...], place: str) -> typing.Iterator[tuple[str, tuple[Any, ...]]]:
    """Every number below a model's field, with the bounds that stand on its way."""
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        yield from numbers(parts[0], bounds + tuple(m for p in parts[1:] for m in getattr(p, "metadata", [p])), place)
    elif annotation in (int, float):
        yield place, bounds
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for name, field in annotation.model_fields.items():
            yield from numbers(field.annotation, tuple(field.metadata), f"{place}.{name}")
    elif origin is not typing.Literal:
        for part in parts:
            yield from numbers(part, bounds, place)


def test_every_number_of_a_recipe_has_two_bounds() -> None:
    found = list(numbers(Recipe, (), "recipe"))
    assert len(found) > 50
    for place, bounds in found:
        assert any(isinstance(b, annotated_types.Ge | annotated_types.Gt) for b in bounds), place
        assert any(isinstance(b, annotated_types.Le | annotated_types.Lt) for b in bounds), place
