"""The mean loss of an epoch, also of one that was interrupted in its middle, and an end where it is no number."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from densefield.checks import InputError
from densefield.training.data_module import data_of
from densefield.training.lightning import pl


class MeanLoss(pl.Callback):
    """Logs `train/loss`, the mean over an epoch's steps and all processes; checkpoints keep what was summed so far.

    Raises `InputError` naming epoch or step, rate and precision where a loss is NaN or infinite: no step mends it, and
    nothing of it may be kept. Each loss is looked at when the next step begins, which spares a GPU the waiting.
    """

    def __init__(self, title: str) -> None:
        self.title = title
        self._sum, self._count = 0.0, 0
        self._newest: Tensor | None = None
        self._trainer: pl.Trainer | None = None

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Keep the trainer, whose processes share the state."""
        self._trainer = trainer

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin anew; Lightning leaves this out where it goes on in mid-epoch."""
        self._sum, self._count = 0.0, 0

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Count the step before."""
        self._settle(trainer)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note this step's loss."""
        self._newest = outputs["loss"].detach()

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Count the last step before its weights are measured."""
        self._settle(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the mean."""
        self._settle(trainer)
        total, count = self._over_processes(trainer)
        if count:
            pl_module.log("train/loss", total / count, on_step=False, on_epoch=True, prog_bar=True)

    def state_dict(self) -> dict[str, Any]:
        """What was summed so far, over all processes."""
        assert self._trainer is not None
        total, count = self._over_processes(self._trainer)
        return {"sum": total, "count": count}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take it up, in one of the processes."""
        if self._trainer is not None and self._trainer.is_global_zero:
            self._sum, self._count = float(state_dict["sum"]), int(state_dict["count"])

    def _settle(self, trainer: pl.Trainer) -> None:
        if self._newest is None:
            return
        value, self._newest = float(self._newest), None
        if not math.isfinite(value):
            raise diverged(trainer, self.title, f"the loss is {value}")
        self._sum += value
        self._count += 1

    def _over_processes(self, trainer: pl.Trainer) -> tuple[float, int]:
        if trainer.world_size == 1:
            return self._sum, self._count
        mine = torch.tensor([self._sum, self._count], device=trainer.strategy.root_device)
        total, count = trainer.strategy.reduce(mine, reduce_op="sum").tolist()
        return total, round(count)


def diverged(trainer: pl.Trainer, title: str, what: str) -> InputError:
    """The error of a run whose numbers have left the range of numbers."""
    by_steps = data_of(trainer).round_steps is not None
    place = f"step {trainer.global_step}" if by_steps else f"epoch {trainer.current_epoch + 1}"
    rate = trainer.optimizers[0].param_groups[0]["lr"]
    precise = "" if str(trainer.precision) == "32-true" else ", or train with precision 32-true"
    return InputError(
        f"{title} {place}: {what} (rate {rate:.1e}, precision {trainer.precision}); "
        f"begin again in another --out with a lower rate{precise}"
    )
