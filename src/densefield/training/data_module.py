"""The Lightning data module: training goes on where an interrupted run stopped, ranks share the validation."""

from __future__ import annotations

import signal
from collections.abc import Callable, Generator, Iterator

import pytorch_lightning as pl
from torch.utils.data import DataLoader

from densefield.checks import InputError
from densefield.protocols import Pairs
from densefield.training.batches import Batch, EpochBatches, TrainingSet, ValidationSet, collate

_SECONDS_TO_SAVE = 20


class TrainingLoader:
    """An epoch's batches, its place in the run looked up when the first is drawn and no sooner.

    Lightning makes the iterator before it has restored where a resumed run stood, and at times makes two; a generator
    does not mind.
    """

    def __init__(self, training_set: TrainingSet, batches: EpochBatches, workers: int) -> None:
        self._running: Generator[Batch] | None = None
        self._loader: DataLoader[Batch] | None = DataLoader(
            training_set,
            batch_sampler=batches,
            collate_fn=collate,
            num_workers=workers,
            persistent_workers=workers > 0,
            worker_init_fn=_leave_signals_to_parent,
        )

    def __len__(self) -> int:
        assert self._loader is not None
        return len(self._loader)

    def __iter__(self) -> Iterator[Batch]:
        self._running = self._batches()
        return self._running

    def close(self) -> None:
        """End the workers now: left to the interpreter's exit, they would hold it up."""
        if self._running is not None:
            self._running.close()
        self._loader = None

    def _batches(self) -> Generator[Batch]:
        assert self._loader is not None
        try:
            yield from self._loader
        except InputError as error:
            # A worker's error arrives wrapped in its traceback, the message last.
            raise InputError(str(error).rsplit("InputError: ", 1)[-1].strip()) from None


class SegmentationData(pl.LightningDataModule):
    """Batches of `batch_size` a device from `training_set`; whole images of `validation_pairs`, one at a time."""

    def __init__(
        self, training_set: TrainingSet, validation_pairs: Pairs, *, batch_size: int, seed: int, workers: int = 0
    ) -> None:
        super().__init__()
        self.training_set, self.validation_pairs = training_set, validation_pairs
        self.batch_size, self.seed, self.workers = batch_size, seed, workers
        self._loader: TrainingLoader | None = None

    def train_dataloader(self) -> TrainingLoader:
        """A loader of (epoch, index) batches."""
        trainer = self.trainer
        assert trainer is not None

        def position() -> tuple[int, int]:
            return trainer.current_epoch, trainer.fit_loop.epoch_loop.batch_progress.current.ready

        self._loader = TrainingLoader(self.training_set, self._batches(position), self.workers)
        return self._loader

    def steps_an_epoch(self) -> int:
        """How many batches each process takes from an epoch."""
        return len(self._batches(lambda: (0, 0)))

    def _batches(self, position: Callable[[], tuple[int, int]]) -> EpochBatches:
        assert self.trainer is not None
        return EpochBatches(
            len(self.training_set),
            self.batch_size,
            position,
            seed=self.seed,
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


def _leave_signals_to_parent(worker: int) -> None:
    """Ctrl-C and a scheduler's SIGTERM reach the whole process group; workers must live until the parent has saved.

    An alarm ends a worker that was told to terminate, should the parent not come to it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "alarm"):
        signal.signal(signal.SIGTERM, lambda number, frame: signal.alarm(_SECONDS_TO_SAVE))
