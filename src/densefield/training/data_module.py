"""The Lightning data module: training goes on where an interrupted run stopped, ranks share the validation."""

from __future__ import annotations

import functools
import signal
from collections.abc import Callable, Generator, Iterator
from typing import Any, cast

from torch.utils.data import DataLoader

from densefield.checks import InputError
from densefield.protocols import Pairs
from densefield.training.batches import Batch, EpochBatches, TrainingSet, ValidationSet, collate, collate_step
from densefield.training.lightning import pl

_SECONDS_TO_SAVE = 20


class TrainingLoader:
    """An epoch's steps, each a list of batches, its place in the run looked up when the first is drawn and no sooner.

    Lightning makes the iterator before it has restored where a resumed run stood, and at times makes two; a generator
    does not mind.
    """

    def __init__(self, training_set: TrainingSet, batches: EpochBatches, workers: int) -> None:
        self._running: Generator[list[Batch]] | None = None
        self._loader: DataLoader[Any] | None = DataLoader(
            training_set,
            batch_sampler=batches,
            collate_fn=functools.partial(collate_step, batch_size=batches.batch_size),
            num_workers=workers,
            persistent_workers=workers > 0,
            worker_init_fn=_leave_signals_to_parent,
        )

    def __len__(self) -> int:
        assert self._loader is not None
        return len(self._loader)

    def __iter__(self) -> Iterator[list[Batch]]:
        self._running = self._batches()
        return self._running

    def close(self) -> None:
        """End the workers now: left to the interpreter's exit, they would hold it up."""
        if self._running is not None:
            self._running.close()
        self._loader = None

    def _batches(self) -> Generator[list[Batch]]:
        assert self._loader is not None
        try:
            yield from self._loader
        except InputError as error:
            # A worker's error arrives wrapped in its traceback, the message last.
            raise InputError(str(error).rsplit("InputError: ", 1)[-1].strip()) from None


class SegmentationData(pl.LightningDataModule):
    """Steps of `accumulate` batches of `batch_size` a device; whole images of `validation_pairs`, one at a time.

    With `round_steps`, what Lightning takes for an epoch is a round of so many steps, behind which is validated.
    """

    def __init__(
        self,
        training_set: TrainingSet,
        validation_pairs: Pairs,
        *,
        batch_size: int,
        seed: int,
        accumulate: int = 1,
        round_steps: int | None = None,
        workers: int = 0,
    ) -> None:
        super().__init__()
        self.training_set, self.validation_pairs = training_set, validation_pairs
        self.batch_size, self.seed, self.workers = batch_size, seed, workers
        self.accumulate, self.round_steps = accumulate, round_steps
        self._loader: TrainingLoader | None = None

    def train_dataloader(self) -> TrainingLoader:
        """A loader of steps."""
        trainer = self.trainer
        assert trainer is not None

        def position() -> tuple[int, int]:
            return trainer.current_epoch, trainer.fit_loop.epoch_loop.batch_progress.current.ready

        self._loader = TrainingLoader(self.training_set, self._batches(position), self.workers)
        return self._loader

    def steps_a_round(self) -> int:
        """How many steps there are in what Lightning takes for an epoch: an epoch, or a round."""
        return len(self._batches(lambda: (0, 0)))

    def steps_an_epoch(self) -> int:
        """How many steps go once through the training set."""
        return self._batches(lambda: (0, 0)).steps_an_epoch

    def _batches(self, position: Callable[[], tuple[int, int]]) -> EpochBatches:
        assert self.trainer is not None
        return EpochBatches(
            len(self.training_set),
            self.batch_size,
            position,
            seed=self.seed,
            accumulate=self.accumulate,
            steps=self.round_steps,
            rank=self.trainer.global_rank,
            world_size=self.trainer.world_size,
        )

    def close(self) -> None:
        """End the training loader's workers."""
        if self._loader is not None:
            self._loader.close()

    def val_dataloader(self) -> DataLoader[Batch]:
        """A loader of whole images."""
        trainer = self.trainer
        assert trainer is not None
        images = ValidationSet(self.validation_pairs, trainer.global_rank, trainer.world_size)
        return DataLoader(images, batch_size=1, collate_fn=collate)


def data_of(trainer: pl.Trainer) -> SegmentationData:
    """The data that a trainer fits; Lightning sets it, and declares nothing."""
    return cast("SegmentationData", cast(Any, trainer).datamodule)


def _leave_signals_to_parent(worker: int) -> None:
    """Ctrl-C and a scheduler's SIGTERM reach the whole process group; workers must live until the parent has saved.

    An alarm ends a worker that was told to terminate, should the parent not come to it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "alarm"):
        signal.signal(signal.SIGTERM, lambda number, frame: signal.alarm(_SECONDS_TO_SAVE))
