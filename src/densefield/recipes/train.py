"""From a recipe to trained weights: here network, data, loss and training meet."""

from __future__ import annotations

import functools
import importlib.metadata
import json
import logging
import platform
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.utilities import rank_zero_only
from rich.console import Console
from torch import Tensor

from densefield import losses, training
from densefield.checks import InputError, check
from densefield.files import atomic_write
from densefield.metrics import ConfusionMatrix
from densefield.recipes.choices import LossChoice
from densefield.recipes.files import write_recipe
from densefield.recipes.recalibrate import recalibrate
from densefield.recipes.recipe import Recipe, Stage
from densefield.segmenter import Segmenter
from densefield.segmenter_image import network_input

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
    network = recipe.network.build(len(classes), len(recipe.mean))
    segmenter = Segmenter(network, classes, mean=recipe.mean, std=recipe.std, tile=recipe.tile)
    class_weights = counted_class_weights(recipe.loss, train_pairs, len(classes), console)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    console.print(
        f"{recipe.name}: {recipe.network.kind}, {parameters / 1e6:.2f} M parameters, {len(classes)} classes, "
        f"{len(train_pairs)} training and {len(val_pairs)} validation images -> {folder}"
    )
    if leader and not begun:
        write_recipe(recipe, folder / RECIPE)
        _write_json(folder / "versions.json", versions())
    if recipe.channels_last:
        for parameter in network.parameters():
            if parameter.dim() == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)

    best = _read_best(folder)["mean_iou"]
    for number, stage in enumerate(recipe.stages, start=1):
        home = folder / f"stage-{number}"
        if (home / "done").exists():
            continue
        if number > 1 and not (home / "last.ckpt").exists():
            segmenter.load_state_dict(Segmenter.load(folder / SEGMENTER).state_dict())
        run = _Stage(recipe, stage, number, home, folder, machine, console)
        best = run.fit(segmenter, class_weights, train_pairs, val_pairs, floor=best)
        with atomic_write(home / "done") as file:
            file.write(b"this stage is complete\n")
    if leader and recipe.recalibrate and not (folder / RECALIBRATED).exists():
        best = _keep_recalibrated(recipe, segmenter, train_pairs, val_pairs, folder, best, console)
    return best


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
                build_loss(recipe.loss, class_weights),
                num_classes=len(segmenter.classes),
                prepare=functools.partial(prepared, segmenter, recipe.channels_last),
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
                pixel_weights=border_weights(recipe.loss, class_weights),
            )
            data = training.SegmentationData(
                batches, val_pairs, batch_size=stage.batch_size, seed=seed, workers=machine.workers
            )
            try:
                trainer.fit(task, data, ckpt_path=last if last.exists() else None, weights_only=True)
            finally:
                data.close()
        return best.best


def prepared(segmenter: Segmenter, channels_last: bool, image: Tensor) -> Tensor:
    """`image` (B, 3, H, W) in [0, 1] as the network reads it."""
    layout = torch.channels_last if channels_last else torch.contiguous_format
    scaled = network_input(image, mean=segmenter.mean, std=segmenter.std, dtype=image.dtype)
    return scaled.contiguous(memory_format=layout)


def counted_class_weights(choice: LossChoice, pairs: Any, num_classes: int, console: Console) -> Tensor | None:
    """Median frequency weights (K,) of the training targets, where `choice` wants them."""
    if choice.class_weights == "none":
        return None
    console.print("counting class frequencies ...")
    return losses.median_frequency_weights(
        *losses.class_pixels((pairs[i].target for i in range(len(pairs))), num_classes)
    )


def build_loss(choice: LossChoice, class_weights: Tensor | None) -> training.Loss:
    """The weighted sum of cross-entropy and soft Dice that `choice` describes.

    Where pixels are weighted by U-Net's border map, that map holds the class weights already (its w_c).
    """
    check(choice.cross_entropy > 0 or choice.dice > 0, "loss: cross_entropy and dice are both 0; nothing to learn from")

    def loss(scores: Tensor, target: Tensor, pixel_weights: Tensor | None) -> Tensor:
        total = scores.new_zeros(())
        if choice.cross_entropy > 0:
            weights = None if class_weights is None or pixel_weights is not None else class_weights.to(scores)
            total = total + choice.cross_entropy * losses.cross_entropy(
                scores, target, class_weights=weights, pixel_weights=pixel_weights
            )
        if choice.dice > 0:
            total = total + choice.dice * losses.dice_loss(scores, target)
        return total

    return loss


def border_weights(
    choice: LossChoice, class_weights: Tensor | None
) -> Callable[[NDArray[np.uint8]], NDArray[np.float32]] | None:
    """U-Net's weight map of a two-class target whose class 1 is the objects, or None where `choice` wants none."""
    if choice.border == 0:
        return None
    count = 2 if class_weights is None else len(class_weights)
    check(count == 2, f"loss.border: wanted two classes (background, objects), received {count}")
    balance = None if class_weights is None else class_weights.numpy()

    def weigh(target: NDArray[np.uint8]) -> NDArray[np.float32]:
        return losses.border_weights(target == 1, class_weights=balance, w0=choice.border, sigma=choice.border_sigma)

    return weigh


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
