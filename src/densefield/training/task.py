"""The Lightning module: scores, loss, validation by one summed confusion matrix."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from densefield.metrics import ConfusionMatrix

Loss = Callable[[Tensor, Tensor, Tensor | None], Tensor]  # scores, target, pixel_weights -> scalar
Predict = Callable[[Tensor], Tensor]  # image (1, 3, H, W) in [0, 1] -> scores (1, K, H, W)


class SegmentationTask(pl.LightningModule):
    """Trains `network` on batches of `image`, `target` and perhaps `pixel_weights`; logs the loss and the four metrics.

    `prepare` turns an image in [0, 1] into the network's input; `predict` scores a whole validation image;
    `optimizer` makes the optimizer; `factor(step, total_steps, steps_per_epoch)` is the learning-rate schedule.
    Dropout is seeded by (seed, epoch, batch, rank), so that a resumed run draws what an uninterrupted one draws.
    """

    def __init__(
        self,
        network: nn.Module,
        loss: Loss,
        *,
        num_classes: int,
        prepare: Callable[[Tensor], Tensor],
        predict: Predict,
        optimizer: Callable[[nn.Module], torch.optim.Optimizer],
        factor: Callable[[int, int, int], float],
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.network, self.loss = network, loss
        self.prepare, self.predict = prepare, predict
        self.make_optimizer, self.factor, self.seed = optimizer, factor, seed
        self.confusion = ConfusionMatrix(num_classes)

    def configure_optimizers(self) -> Any:
        """The optimizer, and the schedule moved every step."""
        total = int(self.trainer.estimated_stepping_batches)
        per_epoch = max(1, int(self.trainer.num_training_batches))
        optimizer = self.make_optimizer(self.network)
        schedule = LambdaLR(optimizer, lambda step: self.factor(step, total, per_epoch))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Seed this step's dropout."""
        state = np.random.SeedSequence((self.seed, self.current_epoch, batch_idx, self.global_rank))
        torch.manual_seed(int(state.generate_state(1)[0]))

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """The loss of one batch."""
        scores = self.network(self.prepare(batch["image"]))
        loss = self.loss(scores.float(), batch["target"], batch.get("pixel_weights"))
        self.log("train/loss", loss.detach(), on_step=False, on_epoch=True, prog_bar=True, sync_dist=True)
        return loss

    def on_validation_epoch_start(self) -> None:
        """Forget the last epoch's counts."""
        self.confusion = ConfusionMatrix(self.confusion.num_classes)

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        """Count one whole image."""
        scores = self.predict(batch["image"])
        self.confusion.update(scores.argmax(dim=1).cpu(), batch["target"].cpu())

    def on_validation_epoch_end(self) -> None:
        """The four metrics over the whole set, summed over processes."""
        self.confusion.all_reduce()
        metrics = {
            "val/mean_iou": self.confusion.mean_iou(),
            "val/pixel_accuracy": self.confusion.pixel_accuracy(),
            "val/mean_accuracy": self.confusion.mean_accuracy(),
            "val/frequency_weighted_iou": self.confusion.frequency_weighted_iou(),
        }
        self.log_dict({name: float(value) for name, value in metrics.items()})
