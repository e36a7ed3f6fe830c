"""One line an epoch or round of steps, and one now and then within a long epoch, for terminals and logs alike."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console

from densefield.training.checkpoints import KeepBest
from densefield.training.data_module import data_of
from densefield.training.lightning import pl


class EpochLines(pl.Callback):
    """Prints epoch, loss, validation mean IoU (and whether it is the best), learning rate and time on `console`.

    Within an epoch it prints the step and its loss every `seconds`.
    """

    def __init__(self, console: Console, title: str, best: KeepBest, seconds: float = 10.0) -> None:
        self.console, self.title, self.best, self.seconds = console, title, best, seconds
        self._started = self._spoken = time.monotonic()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the epoch's clock."""
        self._started = self._spoken = time.monotonic()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Show that something is going on."""
        now = time.monotonic()
        if trainer.is_global_zero and now - self._spoken > self.seconds:
            self._spoken = now
            done = f"epoch {trainer.current_epoch + 1}  step {batch_idx + 1}/{trainer.num_training_batches}"
            if data_of(trainer).round_steps is not None:
                done = _step(trainer)
            self.console.print(f"{self.title} {done}  loss {float(outputs['loss']):.3f}", highlight=False)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print the line."""
        metrics = trainer.callback_metrics  # on every process: reading sums over them
        if not trainer.is_global_zero:
            return
        done = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
        if data_of(trainer).round_steps is not None:
            done = _step(trainer)
        line = f"{self.title} {done}"
        if "train/loss" in metrics:
            line += f"  loss {float(metrics['train/loss']):.3f}"
        if trainer.fit_loop.epoch_loop._should_check_val_epoch() and "val/mean_iou" in metrics:
            line += f"  val mean IoU {100 * float(metrics['val/mean_iou']):.1f} %"
            line += " (best)" if self.best.rose == trainer.current_epoch else ""
        rates = (group["lr"] for group in trainer.optimizers[0].param_groups)
        rate = next(filter(None, rates), 0.0)  # the first group may be one that stands still
        line += f"  rate {rate:.1e}  {time.monotonic() - self._started:.0f} s"
        self.console.print(line, highlight=False)


def _step(trainer: pl.Trainer) -> str:
    """How many steps are done, where these count and not epochs."""
    return f"step {trainer.global_step}/{(trainer.max_epochs or 1) * int(trainer.num_training_batches)}"
