"""One stage of a recipe on Lightning: its callbacks, its loss, its batches."""

from __future__ import annotations

import contextlib
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from torch import Tensor, nn

from densefield import training
from densefield.checks import InputError, check, one_line
from densefield.protocols import Pairs, geometry
from densefield.runs.folder import LAST, METRICS, keep
from densefield.runs.machine import Machine
from densefield.runs.objective import border_weights, build_objective, check_class_weights
from densefield.runs.recalibrate import batch_norms, single_values_told
from densefield.runs.recipe import Recipe, Stage
from densefield.segmenter import Segmenter
from densefield.training.lightning import TensorBoardLogger, pl


class Run(NamedTuple):
    """What all stages of a run share."""

    recipe: Recipe
    folder: Path
    machine: Machine
    console: Console
    signals: training.StopSignals
    train_pairs: Pairs
    val_pairs: Pairs
    trust: str | None = None  # the code that a person named, too


class StageRun(NamedTuple):
    """One stage of a run, counted from 1; `refinement` stands behind the network unless it trains that alone."""

    run: Run
    number: int
    refinement: nn.Module | None

    @property
    def stage(self) -> Stage:
        """What the recipe says of it."""
        return self.run.recipe.stages[self.number - 1]

    @property
    def home(self) -> Path:
        """Its folder within the run's."""
        return self.run.folder / f"stage-{self.number}"

    @property
    def title(self) -> str:
        """What lines about this stage begin with."""
        return f"stage {self.number}/{len(self.run.recipe.stages)}"

    def assemble(self, segmenter: Segmenter) -> None:
        """Put behind the network what this stage has there."""
        segmenter.refinement = None if self.stage.trains == "network" else self.refinement

    def rehearse(self, segmenter: Segmenter) -> None:
        """Raise `InputError` for what would else be found when the stage begins, perhaps hours after the first one.

        That is no loss, no parameter that learns, a group of parameters that there is not, border weights of more than
        two classes, class weights that are not one a class, batch normalisation to freeze that there is not.
        """
        self.assemble(segmenter)
        border_weights(self.run.recipe.loss, None, len(segmenter.classes))
        check_class_weights(self.run.recipe.loss, segmenter.classes.names)
        frozen = not self.stage.freeze_batch_norm or bool(batch_norms(segmenter.network))
        check(frozen, f"{self.title}: freeze_batch_norm: this network has no batch normalisation; leave it out")
        task = self._task(segmenter, None)
        with self._holding_still(segmenter):
            learns = any(parameter.requires_grad for parameter in task.parameters())
            wanted = "a refinement that learns, or a stage that trains the network"
            check(learns, f"{self.title}: nothing learns; wanted {wanted}")
            self.stage.optimizer.build(task)

    def fit(self, segmenter: Segmenter, class_weights: Tensor | None, floor: float) -> float:
        """Train `segmenter` from the stage's last checkpoint, or as it is; returns the best validation mean IoU.

        Raises `Interrupted` with everything saved, and `InputError` for what a person can mend.
        """
        count, last = len(self.run.train_pairs), self.home / LAST
        if self.stage.batch_size > count:
            few = f"batches of {count} in place of {self.stage.batch_size}, as there are no more training images"
            self.run.console.print(f"{self.title}: {few}")
        best = self._keep_best(segmenter, floor)
        with _without_hints(), contextlib.closing(self._data(segmenter, class_weights)) as data:
            trainer, task = self._trainer(self._callbacks(best)), self._task(segmenter, class_weights)
            single = single_values_told(self.title, "take batch_size 2 or more, or larger images or crops")
            with self._holding_still(segmenter), self._lost_readers_told(), single, self.run.signals.deferred():
                trainer.fit(task, data, ckpt_path=last if last.exists() else None, weights_only=True)
        return best.best

    def _keep_best(self, segmenter: Segmenter, floor: float) -> training.KeepBest:
        def save(value: float, epoch: int) -> None:
            steps = self.stage.round_steps
            place = {"epoch": epoch + 1} if steps is None else {"step": (epoch + 1) * steps}
            keep(self.run.folder, segmenter, {"mean_iou": value, "stage": self.number, **place})

        return training.KeepBest("val/mean_iou", save, floor, title=self.title)

    def _callbacks(self, best: training.KeepBest) -> list[pl.Callback]:
        machine, stage = self.run.machine, self.stage
        callbacks: list[pl.Callback] = [
            training.MeanLoss(self.title),
            best,
            training.EpochLines(self.run.console, self.title, best),
            training.MetricsTable(self.home / METRICS),
            training.KeepLast(self.home / LAST, self.run.signals, machine.checkpoint_minutes),
        ]
        if stage.patience is not None:
            callbacks.append(training.Patience("val/mean_iou", stage.patience))
        if machine.bar and sys.stderr.isatty():
            callbacks.append(pl.callbacks.RichProgressBar())
        return callbacks

    def _trainer(self, callbacks: list[pl.Callback]) -> pl.Trainer:
        machine, stage = self.run.machine, self.stage
        rounds = stage.length // (stage.round_steps or 1)  # what Lightning takes for epochs
        return pl.Trainer(
            default_root_dir=self.home,
            accelerator=machine.accelerator,
            devices=machine.devices,
            num_nodes=machine.nodes,
            precision=self.run.recipe.precision,
            max_epochs=rounds,
            check_val_every_n_epoch=1 if stage.steps else min(stage.validate_every or 1, rounds),
            num_sanity_val_steps=0,
            use_distributed_sampler=False,
            callbacks=callbacks,
            enable_progress_bar=any(isinstance(c, pl.callbacks.ProgressBar) for c in callbacks),
            enable_model_summary=False,
            logger=TensorBoardLogger(self.home, name="tensorboard", version=""),
            log_every_n_steps=1,
            plugins=[training.AtomicCheckpointIO()],
        )

    def _data(self, segmenter: Segmenter, class_weights: Tensor | None) -> training.SegmentationData:
        recipe, stage = self.run.recipe, self.stage
        batches = training.TrainingSet(
            self.run.train_pairs,
            stage.augmentation.build(),
            seed=self._seed,
            margin=geometry(segmenter.network).margin,
            pixel_weights=border_weights(recipe.loss, class_weights, len(segmenter.classes)),
        )
        workers = self.run.machine.workers
        return training.SegmentationData(
            batches,
            self.run.val_pairs,
            batch_size=stage.batch_size,
            seed=self._seed,
            accumulate=stage.accumulate,
            round_steps=stage.round_steps,
            workers=workers,
        )

    def _task(self, segmenter: Segmenter, class_weights: Tensor | None) -> training.SegmentationTask:
        return training.SegmentationTask(
            segmenter.network,
            build_objective(self.run.recipe, self.stage.trains, segmenter, class_weights),
            refinement=segmenter.refinement,
            num_classes=len(segmenter.classes),
            predict=segmenter.scores,
            steps=training.Steps(
                self.stage.optimizer.build,
                self._factor,
                self._seed,
                self.stage.accumulate,
                self.run.recipe.loss.reduction,
            ),
        )

    @property
    def _seed(self) -> int:
        return self.run.recipe.seed + 1000 * self.number

    def _factor(self, step: int, total_steps: int, steps_per_epoch: int) -> float:
        """The schedule's factor on the rates."""
        schedule = self.stage.schedule
        return float(schedule.build(step=step, total_steps=total_steps, steps_per_epoch=steps_per_epoch))

    @contextlib.contextmanager
    def _holding_still(self, segmenter: Segmenter) -> Iterator[None]:
        """Let the network learn, or leave it as it is where the stage trains what stands behind it.

        Lightning leaves every layer in the mode that it finds, also behind a validation: what is frozen stays so.
        """
        still = self.stage.trains == "refinement"
        try:
            segmenter.network.requires_grad_(not still).train(not still)
            if self.stage.freeze_batch_norm:
                for norm in batch_norms(segmenter.network):
                    norm.requires_grad_(False).eval()
            yield
        finally:
            segmenter.network.requires_grad_(True).train()

    @contextlib.contextmanager
    def _lost_readers_told(self) -> Iterator[None]:
        """Raise `InputError` where a process that reads has ended, most often for want of memory."""
        try:
            yield
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            reason = one_line(error, 120)
            lost = f"a reading process has ended ({reason}); out of memory? try fewer --workers, or 0"
            raise InputError(f"{self.title}: {lost}") from error


@contextlib.contextmanager
def _without_hints() -> Iterator[None]:
    """Lightning's hints about workers, logging intervals and its own warnings are noise to the person training."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="pytorch_lightning|lightning_fabric|torch.utils.data")
        warnings.filterwarnings("ignore", message=".*torch.jit.*|.*isinstance.*LeafSpec.*")
        yield
