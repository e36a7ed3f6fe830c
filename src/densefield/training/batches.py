"""Batches that depend on (seed, epoch, index) alone, so that a resumed run sees what an uninterrupted one sees."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from densefield.protocols import Pairs, instances_of

Image = NDArray[np.uint8]  # (H, W, 3)
Labels = NDArray[np.unsignedinteger]  # (H, W)
Transform = Callable[[Image, Labels, np.random.Generator], tuple[Image, Labels]]
PixelWeights = Callable[[Labels, Labels | None], NDArray[np.float32]]  # of a target, and of instances if there are any
Batch = dict[str, Tensor]  # image (B, 3, H, W) in [0, 1], target (B, H, W), perhaps pixel_weights (B, H, W)


class EpochBatches(Sampler[list[tuple[int, int]]]):
    """Steps of `accumulate` shuffled batches of (epoch, index) for one rank; an epoch's order is that of (seed, epoch).

    `position()` is asked at the first step for the epoch and how many of its steps are done (by a run that was
    interrupted); the length stays that of a whole epoch. Every rank gets equally many batches; what is left over at the
    end sits out that epoch. Where a round of `steps` is wanted, `position()` counts rounds in place of epochs, and the
    steps of all rounds go through epoch after epoch, wherever a round begins.
    """

    def __init__(
        self,
        length: int,
        batch_size: int,
        position: Callable[[], tuple[int, int]],
        *,
        seed: int,
        accumulate: int = 1,
        steps: int | None = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.length, self.batch_size, self.seed = length, min(batch_size, max(1, length // world_size)), seed
        self.accumulate, self.steps = accumulate, steps
        self.position, self.rank, self.world_size = position, rank, world_size

    @property
    def batches_an_epoch(self) -> int:
        """How many batches each rank takes from an epoch."""
        return self.length // (self.batch_size * self.world_size)

    @property
    def steps_an_epoch(self) -> int:
        """How many steps an epoch has, rounded down; one at least."""
        return max(1, self.batches_an_epoch // self.accumulate)

    def __len__(self) -> int:
        return self.batches_an_epoch // self.accumulate if self.steps is None else self.steps

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        round_, start = self.position()
        epoch, order = -1, np.empty(0, np.int64)
        for step in range(start, len(self)):
            first = round_ * self.batches_an_epoch if self.steps is None else round_ * self.steps * self.accumulate
            keys: list[tuple[int, int]] = []
            for number in range(first + step * self.accumulate, first + (step + 1) * self.accumulate):
                if number // self.batches_an_epoch != epoch:
                    epoch = number // self.batches_an_epoch
                    order = np.random.default_rng((self.seed, epoch)).permutation(self.length)
                begin = (number % self.batches_an_epoch * self.world_size + self.rank) * self.batch_size
                keys += [(epoch, int(index)) for index in order[begin : begin + self.batch_size]]
            yield keys


class TrainingSet(Dataset[dict[str, Tensor]]):
    """Augmented tensors of `pairs`, drawn from (seed, epoch, index).

    `margin` is what a valid-convolution network loses on every side: images are mirrored outwards by it before the
    augmentation, and the target loses it again after, so that scores and target fit. `pixel_weights` maps a finished
    target (H, W), and the instances that `pairs` may have, changed alike, to weights (H, W).
    """

    def __init__(
        self,
        pairs: Pairs,
        transform: Transform,
        *,
        seed: int,
        margin: int = 0,
        pixel_weights: PixelWeights | None = None,
    ) -> None:
        self.pairs, self.transform, self.seed = pairs, transform, seed
        self.margin, self.pixel_weights = margin, pixel_weights

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Tensor]:
        image, target, _ = self.pairs[key[1]]
        changed, labels = self._changed(image, target, key)
        sample = as_tensors(changed, labels)
        if self.pixel_weights is not None:
            instances = instances_of(self.pairs, key[1])
            if instances is not None:  # the same draws change them as they changed the target
                _, instances = self._changed(image, instances, key)
            sample["pixel_weights"] = torch.from_numpy(self.pixel_weights(labels, instances))
        return sample

    def _changed(self, image: Image, labels: Labels, key: tuple[int, int]) -> tuple[Image, Labels]:
        """Mirrored outwards and augmented, by the draws of `key` alone; the labels without the margin."""
        m = self.margin
        if m:
            image = np.pad(image, ((m, m), (m, m), (0, 0)), mode="reflect")
            labels = np.pad(labels, m, constant_values=255)
        image, labels = self.transform(image, labels, np.random.default_rng((self.seed, *key)))
        return image, labels[m:-m, m:-m] if m else labels


class ValidationSet(Dataset[dict[str, Tensor]]):
    """Whole images of `pairs` as tensors: every `world_size`-th from `rank` on, so that none is counted twice."""

    def __init__(self, pairs: Pairs, rank: int = 0, world_size: int = 1) -> None:
        self.pairs, self.indices = pairs, range(rank, len(pairs), world_size)

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        image, target, _ = self.pairs[self.indices[index]]
        return as_tensors(image, target)


def as_tensors(image: Image, target: Labels) -> dict[str, Tensor]:
    """`image` float (3, H, W) in [0, 1] and `target` int64 (H, W)."""
    return {
        "image": torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).float().div_(255),
        "target": torch.from_numpy(target.astype(np.int64)),
    }


def collate(samples: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Stack samples into a batch."""
    return {key: torch.stack([sample[key] for sample in samples]) for key in samples[0]}


def collate_step(samples: Sequence[dict[str, Tensor]], batch_size: int) -> list[Batch]:
    """The batches of one step, each of `batch_size` samples; only those within a batch need be of one size."""
    return [collate(samples[first : first + batch_size]) for first in range(0, len(samples), batch_size)]
