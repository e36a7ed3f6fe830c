"""Stopping where validation no longer rises, also when the run was interrupted on the way."""

from __future__ import annotations

from densefield.training.lightning import pl


class Patience(pl.callbacks.EarlyStopping):
    """Ends a stage after `patience` validations without a better `monitor`; checkpoints keep the count."""

    def __init__(self, monitor: str, patience: int) -> None:
        super().__init__(monitor, mode="max", patience=patience, check_finite=False)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """A run that was interrupted when its patience had just ended has nothing left to do."""
        if self.wait_count >= self.patience:
            trainer.should_stop = True
