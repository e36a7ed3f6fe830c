"""From a recipe to trained weights: its stages one after another, and what they leave in the run's folder."""

from __future__ import annotations

import importlib.metadata
import json
import logging
import math
import platform
import sys
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities import rank_zero_only
from rich.console import Console
from torch import Tensor

from densefield import training
from densefield.checks import InputError, check
from densefield.classes import ClassList
from densefield.files import atomic_write
from densefield.metrics import ConfusionMatrix
from densefield.recipes.files import write_recipe
from densefield.recipes.objective import border_weights, build_objective, counted_class_weights
from densefield.recipes.recalibrate import recalibrate
from densefield.recipes.recipe import Recipe, Stage
from densefield.segmenter import Segmenter
from densefield.segmenter_refinement import shares_trunk
from densefield.weights import check_fit

SEGMENTER = "segmenter.safetensors"  # in the run's folder: the best weights so far, ready for `predict`
RECIPE = "recipe.yaml"
BEST = "best.json"
RECALIBRATED = "recalibrated"


class Machine(NamedTuple):
    """Where a run computes; none of it changes what is learned, but for the batch's share on each device."""

    accelerator: str = "auto"
    devices: int | str = "auto"
    nodes: int = 1
    workers: int = 2
    threads: int | None = None
    bar: bool = True
    checkpoint_minutes: float = 10.0


def train(
    recipe: Recipe, folder: Path, *, resume: bool = False, machine: Machine | None = None, console: Console
) -> float:
    """Run all stages of `recipe` in `folder`; returns the best validation mean IoU.

    The folder gets recipe.yaml, versions.json, segmenter.safetensors + .json (the best weights), and for every stage
    last.ckpt, metrics.csv and TensorBoard's log. Raises `InputError` when the folder holds another run and `resume` is
    False, and `training.Interrupted` after Ctrl-C or SIGTERM, with everything saved.
    """
    machine = machine or Machine()
    if machine.threads:
        torch.set_num_threads(machine.threads)
    leader = not getattr(rank_zero_only, "rank", 0)  # of several processes the first looks after the folder
    begun = (folder / RECIPE).exists()
    message = f"{folder}: holds a run already; continue it with --resume, or choose another --out"
    check(not begun or resume or not leader, message)
    train_pairs, val_pairs = recipe.data.build("train"), recipe.data.build("val")
    check(len(train_pairs) > 0, f"data: the training split of {recipe.data.kind} is empty")
    classes = train_pairs.classes
    torch.manual_seed(recipe.seed)
    segmenter = _segmenter(recipe, classes)
    class_weights = counted_class_weights(recipe.loss, train_pairs, len(classes), console)
    parameters = sum(parameter.numel() for parameter in segmenter.parameters())
    behind = f" + {recipe.refinement.kind}" if recipe.refinement else ""
    console.print(
        f"{recipe.name}: {recipe.network.kind}{behind}, {parameters / 1e6:.2f} M parameters, {len(classes)} classes, "
        f"{len(train_pairs)} training and {len(val_pairs)} validation images -> {folder}"
    )
    if leader and not begun:
        write_recipe(recipe, folder / RECIPE)
        _write_json(folder / "versions.json", versions())
    if recipe.channels_last:
        for parameter in segmenter.parameters():
            if parameter.dim() == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)

    refinement = segmenter.refinement
    best = _read_best(folder)["mean_iou"]
    for number, stage in enumerate(recipe.stages, start=1):
        home = folder / f"stage-{number}"
        segmenter.refinement = None if stage.trains == "network" else refinement
        if (home / "done").exists():
            continue
        if number > 1 and not (home / "last.ckpt").exists():
            _take(segmenter, Segmenter.load(folder / SEGMENTER), str(folder / SEGMENTER))
        run = _Stage(recipe, stage, number, home, folder, machine, console)
        best = run.fit(segmenter, class_weights, train_pairs, val_pairs, floor=_floor(recipe, number, folder))
        with atomic_write(home / "done") as file:
            file.write(b"this stage is complete\n")
    if leader and recipe.recalibrate and not (folder / RECALIBRATED).exists():
        best = _keep_recalibrated(recipe, segmenter, train_pairs, val_pairs, folder, best, console)
    return best


def _segmenter(recipe: Recipe, classes: ClassList) -> Segmenter:
    """Network and refinement of `recipe`, with fresh weights or those that it starts from."""
    network, choice = recipe.network.build(len(classes), len(recipe.mean)), recipe.refinement
    segmenter = Segmenter(
        network,
        classes,
        mean=recipe.mean,
        std=recipe.std,
        refinement=choice.build(network, len(classes), recipe.mean, recipe.std) if choice else None,
        tile=recipe.tile,
    )
    whole = recipe.refinement is None or not getattr(segmenter.network, "margin", 0)
    check(whole, "refinement: wanted a network that scores every pixel (padding: same)")
    if recipe.weights is not None:
        start = Segmenter.load(recipe.weights)
        alike = (start.classes.names, start.mean, start.std) == (classes.names, segmenter.mean, segmenter.std)
        check(alike, f"weights: {recipe.weights} has other classes, mean or std than this recipe and its data")
        _take(segmenter, start, f"weights: {recipe.weights}")
    return segmenter


def _take(segmenter: Segmenter, other: Segmenter, source: str) -> None:
    """The other's weights: the network's, and the refinement's where both have one of a kind."""
    parts = [(segmenter.network, other.network)]
    alike = [(type(one.refinement), shares_trunk(one.refinement, one.network)) for one in (segmenter, other)]
    if segmenter.refinement is not None and other.refinement is not None and alike[0] == alike[1]:
        parts.append((segmenter.refinement, other.refinement))
    for mine, theirs in parts:
        check_fit(mine.state_dict(), theirs.state_dict(), source)
        mine.load_state_dict(theirs.state_dict())


def _floor(recipe: Recipe, number: int, folder: Path) -> float:
    """The best mean IoU so far of the same model: with a refinement behind it, it is another one."""
    best = _read_best(folder)
    if recipe.refinement is None or "stage" not in best:
        return float(best["mean_iou"])
    bare = [recipe.stages[int(stage) - 1].trains == "network" for stage in (number, best["stage"])]
    return float(best["mean_iou"]) if bare[0] == bare[1] else -math.inf


def _keep_recalibrated(
    recipe: Recipe, segmenter: Segmenter, train_pairs: Any, val_pairs: Any, folder: Path, best: float, console: Console
) -> float:
    """Take the best weights' statistics anew, and keep them where validation is the better for it."""
    console.print(f"taking normalisation statistics over {recipe.recalibrate} whole training images ...")
    segmenter.load_state_dict(Segmenter.load(folder / SEGMENTER).state_dict())
    recalibrate(segmenter, train_pairs, recipe.recalibrate)
    confusion = ConfusionMatrix(len(segmenter.classes))
    for index in range(len(val_pairs)):
        image, target, _ = val_pairs[index]
        confusion.update(segmenter(image).cpu(), target)
    value = confusion.mean_iou()
    console.print(f"val mean IoU {100 * value:.1f} % with them, {100 * best:.1f} % before")
    if value > best:
        segmenter.save(folder / SEGMENTER)
        _write_json(folder / BEST, {**_read_best(folder), "mean_iou": value, "recalibrated": True})
    with atomic_write(folder / RECALIBRATED) as file:
        file.write(b"done\n")
    return max(value, best)


class _Stage(NamedTuple):
    recipe: Recipe
    stage: Stage
    number: int
    home: Path
    folder: Path
    machine: Machine
    console: Console

    def fit(
        self, segmenter: Segmenter, class_weights: Tensor | None, train_pairs: Any, val_pairs: Any, floor: float
    ) -> float:
        recipe, stage, machine = self.recipe, self.stage, self.machine
        seed = recipe.seed + 1000 * self.number
        last = self.home / "last.ckpt"
        margin = int(getattr(segmenter.network, "margin", 0))

        def save(value: float, epoch: int) -> None:
            segmenter.save(self.folder / SEGMENTER)
            _write_json(self.folder / BEST, {"mean_iou": value, "stage": self.number, "epoch": epoch + 1})

        best = training.KeepBest("val/mean_iou", save, floor)
        callbacks: list[pl.Callback] = [best]
        if stage.patience is not None:
            callbacks.append(
                pl.callbacks.EarlyStopping("val/mean_iou", mode="max", patience=stage.patience, check_finite=False)
            )
        title = f"stage {self.number}/{len(recipe.stages)}"
        callbacks += [
            training.EpochLines(self.console, title),
            training.MetricsTable(self.home / "metrics.csv"),
            training.KeepLast(last, machine.checkpoint_minutes),
        ]
        if machine.bar and sys.stderr.isatty():
            callbacks.append(pl.callbacks.RichProgressBar())
        logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)  # its tips and its inventory of absent devices
        with warnings.catch_warnings():
            # Lightning's hints about workers, logging intervals and its own warnings are noise to the person training.
            warnings.filterwarnings("ignore", module="pytorch_lightning|lightning_fabric|torch.utils.data")
            warnings.filterwarnings("ignore", message=".*torch.jit.*|.*isinstance.*LeafSpec.*|.*lr_scheduler.step.*")
            trainer = pl.Trainer(
                default_root_dir=self.home,
                accelerator=machine.accelerator,
                devices=machine.devices,
                num_nodes=machine.nodes,
                precision=recipe.precision,
                max_epochs=stage.epochs,
                check_val_every_n_epoch=min(stage.validate_every, stage.epochs),
                num_sanity_val_steps=0,
                use_distributed_sampler=False,
                callbacks=callbacks,
                enable_progress_bar=any(isinstance(c, pl.callbacks.ProgressBar) for c in callbacks),
                enable_model_summary=False,
                enable_checkpointing=False,
                logger=TensorBoardLogger(self.home, name="tensorboard", version=""),
                log_every_n_steps=1,
                plugins=[training.AtomicCheckpointIO()],
            )
            task = training.SegmentationTask(
                segmenter.network,
                build_objective(recipe, stage.trains, segmenter, class_weights),
                refinement=segmenter.refinement,
                num_classes=len(segmenter.classes),
                predict=segmenter.scores,
                optimizer=stage.optimizer.build,
                factor=stage.schedule.factor,
                seed=seed,
            )
            batches = training.TrainingSet(
                train_pairs,
                stage.augmentation.build(),
                seed=seed,
                margin=margin,
                pixel_weights=border_weights(recipe.loss, class_weights, len(segmenter.classes)),
            )
            data = training.SegmentationData(
                batches, val_pairs, batch_size=stage.batch_size, seed=seed, workers=machine.workers
            )
            still = stage.trains == "refinement"
            try:
                segmenter.network.requires_grad_(not still).train(not still)
                learns = any(parameter.requires_grad for parameter in task.parameters())
                check(learns, f"{title}: nothing learns; wanted refinement.learn, or a stage that trains the network")
                trainer.fit(task, data, ckpt_path=last if last.exists() else None, weights_only=True)
            finally:
                segmenter.network.requires_grad_(True).train()
                data.close()
        return best.best


def versions() -> dict[str, str]:
    """What a run was made with."""
    names = ("densefield", "torch", "pytorch-lightning", "numpy", "opencv-python-headless", "pillow")
    found: dict[str, str] = {"python": platform.python_version(), "platform": platform.platform()}
    installed = {distribution.name: distribution.version for distribution in importlib.metadata.distributions()}
    return {**found, **{name: installed.get(name, "not installed") for name in names}}


def _write_json(path: Path, value: object) -> None:
    with atomic_write(path) as file:
        file.write(json.dumps(value, indent=2).encode() + b"\n")


def _read_best(folder: Path) -> dict[str, Any]:
    path = folder / BEST
    if not path.exists():
        return {"mean_iou": float("-inf")}
    try:
        best: dict[str, Any] = json.loads(path.read_text())
        return {**best, "mean_iou": float(best["mean_iou"])}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: cannot be read ({error}); delete it, and the best is found anew") from error
