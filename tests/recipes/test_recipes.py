"""Every recipe begins to learn, on a few small images by a thin network; those of papers say what their papers say."""

from __future__ import annotations

import importlib
import io
import math
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console
from torch import nn

from densefield import recipes
from densefield.data.camvid import FILE_CLASSES
from densefield.recipes import find_recipe, recipe_names
from densefield.runs.machine import Machine
from densefield.runs.train import train

MACHINE = Machine(accelerator="cpu", devices=1, workers=0, bar=False)
OF_PAPERS = [name for name in recipe_names() if find_recipe(name).stages[0].steps is not None]
THIN: dict[str, dict[str, str]] = {  # where a width of two is too much, or there is none to choose
    "fcn32s_alexnet": {"--network.width": "1"},
    **{kind: {} for kind in ("fc_densenet56", "fc_densenet67", "fc_densenet103", "classic_upsampling")},
}
CROPS = {"unet": "[188, 188]"}  # of its valid convolutions
SCENES = {"--data.scenes": "4", "--data.size": "32", "--data.held_out_scenes": "2", "--data.held_out_size": "32"}
DATA = {
    "samples": SCENES,
    "cell_images": {"--data.kind": "samples", **SCENES, "--data.digits": "[3]"},  # two classes, as cells have
    "voc": {},
    "camvid": {},
}


def _pictures(home: Path, names: list[str], folders: tuple[str, str], classes: int, ignored: int) -> None:
    for folder in folders:
        (home / folder).mkdir(parents=True, exist_ok=True)
    for number, name in enumerate(names):
        rng = np.random.default_rng(number)
        # Photographs are of several sizes, frames of one.
        size = (40 + number, 56 - number) if ignored == 255 else (64, 80)
        Image.fromarray(rng.integers(0, 256, (*size, 3), np.uint8)).save(home / folders[0] / f"{name}.png")
        target = rng.integers(0, classes, size, np.uint8)
        target[:3] = ignored
        Image.fromarray(target).save(home / folders[1] / f"{name}.png")


@pytest.fixture(scope="module")
def roots(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A VOC and a CamVid of a few images."""
    home = tmp_path_factory.mktemp("data")
    voc, camvid = home / "voc", home / "camvid"
    (voc / "ImageSets" / "Segmentation").mkdir(parents=True)
    for masks, listing, names in (("SegmentationClassAug", "train_aug", "abcd"), ("SegmentationClass", "val", "yz")):
        _pictures(voc, list(names), ("JPEGImages", masks), 21, 255)
        lines = [f"/JPEGImages/{name}.png /{masks}/{name}.png\n" for name in names]
        (voc / "ImageSets" / "Segmentation" / f"{listing}.txt").write_text("".join(lines))
    for split in ("train", "val"):
        _pictures(camvid, ["a", "b", "c"], (split, f"{split}annot"), len(FILE_CLASSES), 11)
        (camvid / f"{split}.txt").write_text("a\nb\nc\n")
    return {"voc": voc, "camvid": camvid}


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_takes_two_steps(name: str, roots: dict[str, Path], tmp_path: Path) -> None:
    whole = find_recipe(name)
    flags = {**THIN.get(whole.network.kind, {"--network.width": "2"}), **DATA[whole.data.kind]}
    if whole.data.kind in roots:
        flags["--data.root"] = str(roots[whole.data.kind])
    flags |= {"--precision": "32-true", "--recalibrate": "0"}
    for number, stage in enumerate(whole.stages):
        flags |= {f"--stages.{number}.epochs": "null", f"--stages.{number}.steps": "2"}
        flags[f"--stages.{number}.batch_size"] = str(min(stage.batch_size, 2))
        if stage.freeze_batch_norm:  # without released weights scores begin in the thousands
            flags[f"--stages.{number}.optimizer.learning_rate"] = "1e-9"
        if stage.augmentation.crop is not None:
            flags[f"--stages.{number}.augmentation.crop"] = CROPS.get(whole.network.kind, "[33, 41]")
    recipe = find_recipe(name, [word for flag in flags.items() for word in flag])
    said = io.StringIO()
    train(recipe, tmp_path / "run", machine=MACHINE, console=Console(file=said, width=200))
    for number in range(1, len(recipe.stages) + 1):
        header, *rows = (tmp_path / "run" / f"stage-{number}" / "metrics.csv").read_text().split()
        row = dict(zip(header.split(","), rows[-1].split(","), strict=True))
        assert row["step"] == "2"
        assert math.isfinite(float(row["train/loss"]))
        assert f"stage {number}/{len(recipe.stages)} step 2/2  loss" in said.getvalue()


@pytest.mark.parametrize("name", OF_PAPERS)
def test_a_recipe_of_a_paper_says_where_it_stands_there_and_is_listed(name: str) -> None:
    home = importlib.import_module(f"densefield.recipes.{recipes._HOMES[name]}")
    said = str(home.__doc__)
    assert re.search(r"densefield train \w+ --data.root", said)
    assert re.search("table|section", said, re.IGNORECASE)
    for page in ("results.md", "training.md"):
        assert f"`{name}`" in (Path(__file__).parents[2] / "docs" / page).read_text(encoding="utf-8")


def test_fcn_learns_as_published() -> None:
    rates = {"voc_fcn32s": 1e-10, "voc_fcn16s": 1e-12, "voc_fcn8s": 1e-14, "voc_fcn8s_at_once": 1e-10}
    for name, rate in rates.items():
        recipe = find_recipe(name)
        (stage,) = recipe.stages
        assert stage.steps == (300_000 if name.endswith("once") else 100_000)
        assert (stage.batch_size, stage.accumulate, recipe.loss.reduction) == (1, 1, "sum")
        assert (stage.optimizer.learning_rate, stage.optimizer.momentum) == (rate, 0.99)
    recipe = find_recipe("voc_fcn32s_alexnet")
    (stage,) = recipe.stages
    assert (stage.accumulate, recipe.loss.reduction, stage.optimizer.learning_rate) == (20, "mean", 1e-4)


def rates(name: str) -> dict[str, float]:
    """By what each parameter's rate is multiplied, of a thin network."""
    recipe = find_recipe(name, ["--network.width", "1"])
    network = nn.ModuleDict({"network": recipe.network.build(num_classes=3, in_channels=3)})
    optimizer = recipe.stages[0].optimizer
    names = {id(parameter): one for one, parameter in network.named_parameters()}
    groups = optimizer.build(network).param_groups
    return {names[id(one)]: group["lr"] / optimizer.learning_rate for group in groups for one in group["params"]}


def test_biases_learn_twice_as_fast() -> None:
    for name, factor in rates("voc_fcn8s").items():
        assert factor == pytest.approx(2 if name.endswith("bias") else 1), name


@pytest.mark.parametrize("name", [name for name in OF_PAPERS if "deeplab" in name])
def test_scores_of_deeplab_learn_ten_times_as_fast_and_biases_twice(name: str) -> None:
    """The last layer is called fc8 on VGG-16 and fc1 on ResNet-101, whose normalisation is frozen."""
    for each, factor in rates(name).items():
        last = ".fc8" in each or ".fc1_c" in each
        bias = each.endswith("bias") and ("resnet" not in name or last)
        assert factor == pytest.approx((10 if last else 1) * (2 if bias else 1)), each


def test_deeplab_learns_as_published() -> None:
    for name in ("voc_deeplab_7x7", "voc_deeplab_4x4", "voc_deeplab_4x4_rate4", "voc_deeplab_largefov"):
        recipe = find_recipe(name)
        (stage,) = recipe.stages
        assert (stage.batch_size, stage.augmentation.crop) == (
            (30, (321, 321)) if name.endswith("fov") else (20, (306, 306))
        )
        factors = [stage.schedule.build(step=step, total_steps=6000) for step in (0, 1999, 2000, 4000, 5999)]
        assert factors == pytest.approx([1, 1, 0.1, 0.01, 0.01])
        assert (stage.steps, recipe.loss.at) == (6000, "scores")


def test_deeplab_v2_learns_as_published() -> None:
    for name in ("voc_deeplab_v2_largefov", "voc_deeplab_v2_aspp_s", "voc_deeplab_v2_aspp_l"):
        (stage,) = find_recipe(name).stages
        assert (stage.steps, stage.batch_size, stage.schedule.kind, stage.schedule.power) == (20_000, 10, "poly", 0.9)
        assert (stage.optimizer.learning_rate, stage.freeze_batch_norm) == (1e-3, False)
    recipe = find_recipe("voc_deeplab_v2_resnet101", ["--network.width", "1"])
    (stage,) = recipe.stages
    assert (stage.optimizer.learning_rate, stage.freeze_batch_norm) == (2.5e-4, True)
    assert stage.augmentation.scale == (0.5, 1.5)
    network = recipe.network.build(num_classes=21, in_channels=3)
    assert network.own_strides == (8, 8, 8, 16)  # the maximum, then each scale: the four losses of MSC


def test_segnet_learns_as_released() -> None:
    recipe = find_recipe("camvid_segnet")
    (stage,) = recipe.stages
    assert (stage.steps, stage.batch_size, stage.optimizer.learning_rate, stage.schedule.kind) == (
        (40_000, 4, 1e-3, "constant")
    )
    weights = dict(zip(FILE_CLASSES.names, recipe.loss.class_weights, strict=True))
    assert (weights["Sign"], weights["Road"]) == (9.6446, 0.1417)
    for name, factor in rates("camvid_segnet").items():
        assert factor == pytest.approx(2 if name.endswith("bias") and "_bn" not in name else 1), name


def test_deconvnet_learns_from_64_crops_a_step() -> None:
    (stage,) = find_recipe("voc_deconvnet").stages
    assert (stage.steps, stage.batch_size * stage.accumulate, stage.accumulate) == (40_000, 64, 8)
    factors = [stage.schedule.build(step=step, total_steps=40_000) for step in (0, 9999, 10_000, 39_999)]
    assert factors == pytest.approx([1, 1, 0.1, 1e-3])


def test_dilation_learns_its_context_then_all_of_it() -> None:
    (front,) = find_recipe("voc_dilation_front_end").stages
    assert (front.optimizer.learning_rate, front.batch_size, front.augmentation.crop) == (1e-4, 14, (500, 500))
    context, joint = find_recipe("voc_dilation8").stages
    assert (context.optimizer.learning_rate, joint.optimizer.learning_rate) == (1e-3, 1e-5)
    for name, factor in rates("voc_dilation8").items():
        assert factor == pytest.approx(1 if ".ctx_" in name else 0), name
