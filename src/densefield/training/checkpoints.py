"""Checkpoints that are whole or absent, saved at an epoch's end, every few minutes and when the run is interrupted."""

from __future__ import annotations

import io
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import FrameType
from typing import Any, cast

import pytorch_lightning as pl
import torch
from pytorch_lightning.plugins.io import CheckpointIO

from densefield.checks import InputError, check
from densefield.files import atomic_write
from densefield.weights import read_checkpoint


class Interrupted(Exception):
    """Ctrl-C or SIGTERM, after the checkpoint was written; `status` is the process's exit status (130 or 143)."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.status = 128 + number


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


class KeepLast(pl.Callback):
    """Keeps `path` at the newest state: after every epoch, every `minutes`, and on SIGINT or SIGTERM.

    A signal is acted on between two steps, where the state is consistent, by saving and raising `Interrupted`; a
    second Ctrl-C interrupts at once.
    """

    def __init__(self, path: Path, minutes: float = 10.0) -> None:
        self.path, self.minutes = path, minutes
        self._signal = 0
        self._saved_at = time.monotonic()
        self._handlers: dict[int, Any] = {}

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Take over the signals."""
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._handlers[number] = signal.signal(number, self._note)

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Give the signals back."""
        self._restore()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Give the signals back."""
        self._restore()

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Save when it is time or when asked to stop.

        Here and not after the step before: Lightning counts a step as completed only once its last hook has run, and
        would repeat it on resuming.
        """
        stop = self._asked(trainer)
        if stop or (batch_idx > 0 and self._due(trainer)):
            self._save(trainer)
        if stop:
            raise Interrupted(self._signal or signal.SIGTERM)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save after the epoch's validation."""
        self._save(trainer)
        if self._asked(trainer):
            raise Interrupted(self._signal or signal.SIGTERM)

    def on_validation_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        """Validation changes no weights, so a request to stop need not wait for its end."""
        if self._signal and not trainer.sanity_checking and trainer.world_size == 1:
            raise Interrupted(self._signal)

    def _asked(self, trainer: pl.Trainer) -> bool:
        return bool(trainer.strategy.reduce_boolean_decision(bool(self._signal), all=False))

    def _due(self, trainer: pl.Trainer) -> bool:
        due = time.monotonic() - self._saved_at > 60 * self.minutes
        return bool(trainer.strategy.reduce_boolean_decision(due, all=False))

    def _save(self, trainer: pl.Trainer) -> None:
        trainer.save_checkpoint(self.path)
        self._saved_at = time.monotonic()

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self._signal:
            signal.default_int_handler(number, frame)
        self._signal = number

    def _restore(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers.clear()


class KeepBest(pl.Callback):
    """Calls `save(value, epoch)` whenever validation's `monitor` rises above all before; checkpoints keep the best.

    `floor` is a value to beat from the start (an earlier stage's best).
    """

    def __init__(self, monitor: str, save: Callable[[float, int], None], floor: float = float("-inf")) -> None:
        self.monitor, self.save, self.best = monitor, save, floor

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Compare, and save."""
        if trainer.sanity_checking or self.monitor not in trainer.callback_metrics:
            return
        value = float(trainer.callback_metrics[self.monitor])
        if value > self.best:
            self.best = value
            if trainer.is_global_zero:
                self.save(value, trainer.current_epoch)

    def state_dict(self) -> dict[str, Any]:
        """The best value so far."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the best value of the interrupted run."""
        self.best = float(state_dict["best"])
