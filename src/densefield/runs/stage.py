"""One stage of a recipe on Lightning: its callbacks, its loss, its batches."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import NamedTuple

import pytorch_lightning as pl
from pytorch_lightning.loggers import TensorBoardLogger
from rich.console import Console
from torch import Tensor

from densefield import training
from densefield.checks import InputError, check, one_line
from densefield.protocols import Pairs, geometry
from densefield.runs.folder import BEST, LAST, METRICS, SEGMENTER, write_json
from densefield.runs.machine import Machine
from densefield.runs.objective import border_weights, build_objective
from densefield.runs.recipe import Recipe, Stage
from densefield.segmenter import Segmenter


class StageRun(NamedTuple):
    """One stage of a recipe, to be trained in `home` within the run's `folder`."""

    recipe: Recipe
    stage: Stage
    number: int
    home: Path
    folder: Path
    machine: Machine
    console: Console
    signals: training.StopSignals

    @property
    def title(self) -> str:
        """What lines about this stage begin with."""
        return f"stage {self.number}/{len(self.recipe.stages)}"

    def rehearse(self, segmenter: Segmenter) -> None:
        """Raise `InputError` for what would else be found when the stage begins, perhaps hours after the first one.

        That is no loss, no parameter that learns, a group of parameters that there is not, border weights of more than
        two classes.
        """
        border_weights(self.recipe.loss, None, len(segmenter.classes))
        task = self._task(segmenter, None)
        try:
            self._hold_still(segmenter)
            learns = any(parameter.requires_grad for parameter in task.parameters())
            check(
                learns,
                f"{self.title}: nothing learns; wanted a refinement that learns, or a stage that trains the network",
            )
            self.stage.optimizer.build(task)
        finally:
            segmenter.network.requires_grad_(True).train()

    def fit(
        self, segmenter: Segmenter, class_weights: Tensor | None, train_pairs: Pairs, val_pairs: Pairs, floor: float
    ) -> float:
        """Train `segmenter` from the stage's last checkpoint, or as it is; returns the best validation mean IoU.

        Raises `Interrupted` with everything saved, and `InputError` for what a person can mend.
        """
        recipe, stage, machine = self.recipe, self.stage, self.machine
        seed = recipe.seed + 1000 * self.number
        last = self.home / LAST
        margin = geometry(segmenter.network).margin

        def save(value: float, epoch: int) -> None:
            segmenter.save(self.folder / SEGMENTER)
            write_json(self.folder / BEST, {"mean_iou": value, "stage": self.number, "epoch": epoch + 1})

        title = self.title
        if stage.batch_size > len(train_pairs):
            few = f"batches of {len(train_pairs)} in place of {stage.batch_size}, as there are no more training images"
            self.console.print(f"{title}: {few}")
        best = training.KeepBest("val/mean_iou", save, floor, title=title)
        callbacks: list[pl.Callback] = [
            training.MeanLoss(title),
            best,
            training.EpochLines(self.console, title, best),
            training.MetricsTable(self.home / METRICS),
            training.KeepLast(last, self.signals, machine.checkpoint_minutes),
        ]
        if stage.patience is not None:
            callbacks.append(training.Patience("val/mean_iou", stage.patience))
        if machine.bar and sys.stderr.isatty():
            callbacks.append(pl.callbacks.RichProgressBar())
        with warnings.catch_warnings():
            # Lightning's hints about workers, logging intervals and its own warnings are noise to the person training.
            warnings.filterwarnings("ignore", module="pytorch_lightning|lightning_fabric|torch.utils.data")
            warnings.filterwarnings("ignore", message=".*torch.jit.*|.*isinstance.*LeafSpec.*")
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
                logger=TensorBoardLogger(self.home, name="tensorboard", version=""),
                log_every_n_steps=1,
                plugins=[training.AtomicCheckpointIO()],
            )
            task = self._task(segmenter, class_weights)
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
            try:
                self._hold_still(segmenter)
                with self.signals.deferred():
                    trainer.fit(task, data, ckpt_path=last if last.exists() else None, weights_only=True)
            except RuntimeError as error:
                if "DataLoader worker" not in str(error):
                    raise
                reason = one_line(error, 120)
                raise InputError(
                    f"{title}: a reading process has ended ({reason}); out of memory? try fewer --workers, or 0"
                ) from error
            finally:
                segmenter.network.requires_grad_(True).train()
                data.close()
        return best.best

    def _task(self, segmenter: Segmenter, class_weights: Tensor | None) -> training.SegmentationTask:
        return training.SegmentationTask(
            segmenter.network,
            build_objective(self.recipe, self.stage.trains, segmenter, class_weights),
            refinement=segmenter.refinement,
            num_classes=len(segmenter.classes),
            predict=segmenter.scores,
            steps=training.Steps(self.stage.optimizer.build, self._factor, self.recipe.seed + 1000 * self.number),
        )

    def _factor(self, step: int, total_steps: int, steps_per_epoch: int) -> float:
        """The schedule's factor on the rates."""
        schedule = self.stage.schedule
        return float(schedule.build(step=step, total_steps=total_steps, steps_per_epoch=steps_per_epoch))

    def _hold_still(self, segmenter: Segmenter) -> None:
        """Let the network learn, or leave it as it is where the stage trains what stands behind it."""
        still = self.stage.trains == "refinement"
        segmenter.network.requires_grad_(not still).train(not still)
