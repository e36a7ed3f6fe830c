"""Checkpoints that are whole or absent, saved at an epoch's end, every few minutes and when the run is interrupted."""

from __future__ import annotations

import io
import math
import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import torch

from densefield.checks import InputError, check
from densefield.files import atomic_write
from densefield.training.data_module import data_of
from densefield.training.lightning import CheckpointIO, pl
from densefield.training.mean_loss import diverged
from densefield.training.signals import Interrupted, StopSignals
from densefield.weights import read_checkpoint


class AtomicCheckpointIO(CheckpointIO):
    """Lightning's checkpoints through a temporary file and a rename, read back without running code.

    Lightning's own writer can destroy the last good file on a full disk.
    """

    def save_checkpoint(
        self, checkpoint: Mapping[str, Any], path: str | os.PathLike[str], storage_options: Any | None = None
    ) -> None:
        """Write `checkpoint`; raises `InputError` when it cannot be written, leaving the old file in place."""
        whole = io.BytesIO()  # torch turns a full disk into an error of its own; memory does not fill first
        torch.save(dict(checkpoint), whole)
        with atomic_write(path) as file:
            file.write(whole.getbuffer())

    def load_checkpoint(
        self,
        path: str | os.PathLike[str],
        map_location: Any | None = None,
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        """Read tensors and plain values only, whatever the caller asks; raises `InputError` for a damaged file."""
        try:
            loaded = read_checkpoint(path)
        except InputError as error:
            reason = str(error).removeprefix(f"{path}: ").partition(";")[0]
            raise InputError(
                f"{path}: not a usable checkpoint ({reason}); delete it, and its stage starts again"
            ) from error
        whole = isinstance(loaded, dict) and all(isinstance(key, str) for key in loaded)
        check(whole, f"{path}: holds no training's state; delete it, and its stage starts again")
        return cast("dict[str, Any]", loaded)

    def remove_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Delete `path` if it is there."""
        Path(path).unlink(missing_ok=True)


class KeepLast(pl.callbacks.Checkpoint):
    """Keeps `path` at the newest state: after each epoch or round, every `minutes`, when `signals` hold a wish to stop.

    A signal is acted on where the state is consistent, between two steps or in validation, by saving and raising
    `Interrupted`. As a `Checkpoint` it comes behind all other callbacks, whose state it keeps.
    """

    def __init__(self, path: Path, signals: StopSignals, minutes: float = 10.0) -> None:
        self.path, self.signals, self.minutes = path, signals, minutes
        self._saved_at = time.monotonic()
        self._validated = True

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take the signals back: Lightning's handler would leave the loop, with status 0, before anything is saved."""
        self.signals.retake()
        trainer._signal_connector.received_sigterm = False

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Save when it is time or when asked to stop.

        Here and not after the step before: Lightning counts a step as completed only once its last hook has run, and
        would repeat it on resuming.
        """
        self._stop_if_asked(trainer)
        if batch_idx > 0 and self._due(trainer):
            self._save(trainer)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """An epoch's last step has no next one; what it learned is saved here."""
        self._validated = False
        self._stop_if_asked(trainer)

    def on_validation_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Validation changes no weights, so a wish to stop need not wait for its end.

        Of several processes one may have an image less: these stop behind it, together.
        """
        if trainer.world_size == 1:
            self._stop_if_asked(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """From here on a resumed run need not validate again."""
        self._validated = True

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save after the epoch's validation."""
        self._save(trainer)
        self._stop_if_asked(trainer, saved=True)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Note how many processes share an epoch; a validation that is not over has to begin again on resuming.

        Lightning goes back into a validation whose first image was begun and not done; else it takes it for done.
        """
        checkpoint["world_size"] = trainer.world_size
        if not self._validated:
            begun = {"ready": 1, "started": 1, "processed": 0, "completed": 0}
            progress = {"total": begun, "current": dict(begun), "is_last_batch": False}
            checkpoint["loops"]["fit_loop"]["epoch_loop.val_loop.batch_progress"] = progress

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        """Another number of processes divides epochs otherwise: they may take over at the end of one, or of a round."""
        before = checkpoint.get("world_size", trainer.world_size)
        if before == trainer.world_size:
            return
        loops = checkpoint["loops"]["fit_loop"]
        epochs, steps = loops["epoch_progress"]["current"], loops["epoch_loop.batch_progress"]
        check(
            epochs["processed"] == epochs["ready"],
            f"{self.path}: was saved within an epoch by {before} process(es); go on with as many devices and nodes "
            f"until the epoch ends, received {trainer.world_size}",
        )
        steps["current"] = dict.fromkeys(steps["current"], data_of(trainer).steps_a_round())

    def _stop_if_asked(self, trainer: pl.Trainer, *, saved: bool = False) -> None:
        asked = self.signals.number is not None
        if trainer.strategy.reduce_boolean_decision(asked, all=False):
            if not saved:
                self._save(trainer)
            raise Interrupted(self.signals.number or signal.SIGTERM, saved=True)

    def _due(self, trainer: pl.Trainer) -> bool:
        due = time.monotonic() - self._saved_at > 60 * self.minutes
        return bool(trainer.strategy.reduce_boolean_decision(due, all=False))

    def _save(self, trainer: pl.Trainer) -> None:
        trainer.save_checkpoint(self.path)
        self._saved_at = time.monotonic()


class KeepBest(pl.Callback):
    """Calls `save(value, epoch)` whenever validation's `monitor` rises above all before; checkpoints keep the best.

    `floor` is a value to beat from the start (an earlier stage's best); `rose` is the epoch (from 0) of the last rise.
    Raises `InputError` where there is nothing to compare: validation without a labelled pixel, weights of NaN.
    """

    def __init__(
        self, monitor: str, save: Callable[[float, int], None], floor: float = -math.inf, *, title: str = "training"
    ) -> None:
        self.monitor, self.save, self.best, self.title = monitor, save, floor, title
        self.rose: int | None = None

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Compare, and save."""
        if trainer.sanity_checking or self.monitor not in trainer.callback_metrics:
            return
        value = float(trainer.callback_metrics[self.monitor])
        check(not math.isnan(value), f"{self.title}: {self.monitor} is undefined; wanted labelled validation pixels")
        state = pl_module.state_dict()
        if not all(bool(tensor.isfinite().all()) for tensor in state.values() if tensor.is_floating_point()):
            raise diverged(trainer, self.title, "weights are NaN or infinite")
        if value > self.best:
            self.best, self.rose = value, trainer.current_epoch
            if trainer.is_global_zero:
                self.save(value, trainer.current_epoch)

    def state_dict(self) -> dict[str, Any]:
        """The best value so far."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the best value of the interrupted run, where the floor is not above it by now."""
        self.best = max(self.best, float(state_dict["best"]))
