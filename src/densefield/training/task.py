"""The Lightning module: scores, loss, validation by one summed confusion matrix."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn

from densefield.metrics import ConfusionMatrix
from densefield.training.batches import Batch
from densefield.training.data_module import data_of
from densefield.training.lightning import pl

Objective = Callable[[Batch], Tensor]  # -> scalar
Predict = Callable[[Tensor], Tensor]  # image (1, 3, H, W) in [0, 1] -> scores (1, K, H, W)


class Steps(NamedTuple):
    """How a task learns: `optimizer` is made of its parameters, rates follow `factor`, dropout comes from `seed`.

    The gradients of a step's `accumulate` batches become their "mean", or their "sum".
    """

    optimizer: Callable[[nn.Module], torch.optim.Optimizer]
    factor: Callable[[int, int, int], float]  # step, total_steps, steps_per_epoch
    seed: int = 0
    accumulate: int = 1
    reduction: Literal["mean", "sum"] = "mean"


class SegmentationTask(pl.LightningModule):
    """Lowers `objective(batch)` by the parameters of `network` and `refinement`; logs the four metrics.

    `predict` scores a whole validation image.
    Dropout is seeded by (seed, epoch, batch, rank), so that a resumed run draws what an uninterrupted one draws.
    """

    def __init__(
        self,
        network: nn.Module,
        objective: Objective,
        *,
        refinement: nn.Module | None = None,
        num_classes: int,
        predict: Predict,
        steps: Steps,
    ) -> None:
        super().__init__()
        self.network, self.refinement = network, refinement
        self.objective, self.predict, self.steps = objective, predict, steps
        self.confusion = ConfusionMatrix(num_classes)
        self._rates: list[float] = []
        self.automatic_optimization = steps.accumulate == 1

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The optimizer; its rates move with the epochs done, not with a count of steps that other devices change."""
        optimizer = self.steps.optimizer(self)
        self._rates = [group["lr"] for group in optimizer.param_groups]
        return optimizer

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Set this step's rates, and seed its dropout."""
        round_, rounds = int(self.trainer.num_training_batches), self.trainer.max_epochs or 1
        per_epoch = data_of(self.trainer).steps_an_epoch()
        factor = self.steps.factor(self.current_epoch * round_ + batch_idx, rounds * round_, per_epoch)
        for group, rate in zip(self.trainer.optimizers[0].param_groups, self._rates, strict=True):
            group["lr"] = rate * factor
        state = np.random.SeedSequence((self.steps.seed, self.current_epoch, batch_idx, self.global_rank))
        torch.manual_seed(int(state.generate_state(1)[0]))

    def training_step(self, batches: list[Batch], batch_idx: int) -> Tensor:
        """The loss of a step: of its only batch, or of all of them, the weights then moved."""
        if self.automatic_optimization:
            return self.objective(batches[0])
        optimizer, share = cast(Any, self.optimizers()), 1 / len(batches) if self.steps.reduction == "mean" else 1.0
        optimizer.zero_grad()
        total = torch.zeros((), device=self.device)
        for batch in batches:
            loss = share * self.objective(batch)
            self.manual_backward(loss)
            total = total + loss.detach()
        optimizer.step()
        return total

    def on_validation_epoch_start(self) -> None:
        """Forget the last epoch's counts."""
        self.confusion = ConfusionMatrix(self.confusion.num_classes)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
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
