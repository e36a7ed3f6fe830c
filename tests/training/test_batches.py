from __future__ import annotations

import numpy as np
import pytest
import torch

from densefield.data.transforms import (
    ColorJitter,
    Compose,
    ElasticDeformation,
    RandomCrop,
    RandomDihedral,
    RandomRotation,
    RandomScale,
    RandomWarp,
)
from densefield.training import EpochBatches, TrainingSet, ValidationSet, collate, collate_step


def batches_of(length: int, size: int, epoch: int = 0, start: int = 0, seed: int = 0, **share: int) -> EpochBatches:
    return EpochBatches(length, size, lambda: (epoch, start), seed=seed, **share)


def drawn(batches: EpochBatches) -> list[int]:
    return [index for batch in batches for _, index in batch]


def test_an_epoch_visits_every_image_once_and_epochs_differ() -> None:
    first, second = drawn(batches_of(12, 4, epoch=0)), drawn(batches_of(12, 4, epoch=1))
    assert sorted(first) == sorted(second) == list(range(12))
    assert first != second


def test_the_position_is_asked_at_every_epoch() -> None:
    place = [0, 0]
    batches = EpochBatches(8, 2, lambda: (place[0], place[1]), seed=1)
    assert {epoch for batch in batches for epoch, _ in batch} == {0}
    place[:] = [3, 1]
    assert list(batches) == list(batches_of(8, 2, epoch=3, seed=1))[1:]


def test_an_epoch_depends_on_seed_and_epoch_alone() -> None:
    assert list(batches_of(10, 3, epoch=7, seed=5)) == list(batches_of(10, 3, epoch=7, seed=5))
    assert list(batches_of(10, 3, epoch=7, seed=6)) != list(batches_of(10, 3, epoch=7, seed=5))


def test_a_start_skips_batches_and_the_length_stays() -> None:
    whole, late = batches_of(11, 2, epoch=4), batches_of(11, 2, epoch=4, start=3)
    assert len(late) == len(whole) == 5
    assert list(late) == list(whole)[3:]


@pytest.mark.parametrize("world_size", [2, 3])
def test_ranks_share_an_epoch_without_overlap_in_equally_many_batches(world_size: int) -> None:
    ranks = [batches_of(20, 2, seed=1, rank=rank, world_size=world_size) for rank in range(world_size)]
    assert len({len(list(rank)) for rank in ranks}) == 1
    together = [index for rank in ranks for index in drawn(rank)]
    assert len(together) == len(set(together))
    # What all ranks see is what one process sees with a batch of their common size.
    alone = batches_of(20, 2 * world_size, seed=1)
    for step, batch in enumerate(alone):
        assert [key for rank in ranks for key in list(rank)[step]] == batch


@pytest.mark.parametrize(("accumulate", "steps"), [(1, 3), (2, 4), (5, 2)])
def test_rounds_of_steps_go_through_epoch_after_epoch(accumulate: int, steps: int) -> None:
    """Of 11 images in batches of 2 every epoch has five; a step may begin in one epoch and end in the next."""
    row = [batch for epoch in range(8) for batch in batches_of(11, 2, epoch=epoch)]
    size = accumulate * 2
    for number in range(3):
        found = list(batches_of(11, 2, epoch=number, accumulate=accumulate, steps=steps))
        first = number * steps * accumulate
        wanted = [key for batch in row[first : first + steps * accumulate] for key in batch]
        assert [key for step in found for key in step] == wanted
        assert [len(step) for step in found] == [size] * steps
    late = list(batches_of(11, 2, epoch=2, start=1, accumulate=accumulate, steps=steps))
    assert late == found[1:]


def test_an_epoch_of_accumulated_batches_leaves_out_what_is_no_whole_step() -> None:
    found, alone = batches_of(12, 2, epoch=3, accumulate=4), list(batches_of(12, 2, epoch=3))
    assert list(found) == [[key for batch in alone[:4] for key in batch]]
    assert (len(found), found.batches_an_epoch, found.steps_an_epoch) == (1, 6, 1)


def test_a_step_is_collated_batch_by_batch_and_only_within_one_of_one_size() -> None:
    samples = [{"image": torch.full((3, side, side), float(side))} for side in (4, 4, 5, 5, 6)]
    assert [tuple(batch["image"].shape) for batch in collate_step(samples, 2)] == [
        (2, 3, 4, 4),
        (2, 3, 5, 5),
        (1, 3, 6, 6),
    ]


def test_a_batch_larger_than_the_data_is_the_data() -> None:
    assert [len(batch) for batch in batches_of(3, 8)] == [3]


class Numbers:
    """Images whose pixels are their index."""

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray, str]:
        return np.full((6, 8, 3), index, np.uint8), np.full((6, 8), index, np.uint8), str(index)


def jitter(image: np.ndarray, target: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    return image + rng.integers(0, 100, dtype=np.uint8), target


def test_augmentation_is_drawn_from_seed_epoch_and_index() -> None:
    pairs = TrainingSet(Numbers(), jitter, seed=2)
    again = TrainingSet(Numbers(), jitter, seed=2)
    pairs[0, 1]
    assert torch.equal(pairs[3, 4]["image"], again[3, 4]["image"])
    assert len({float(pairs[epoch, 4]["image"][0, 0, 0]) for epoch in range(6)}) > 1


def test_a_margin_is_mirrored_around_the_image_and_cut_from_the_target() -> None:
    def same(image: np.ndarray, target: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        return image, target

    class Ramp(Numbers):
        def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray, str]:
            columns = np.tile(np.arange(8, dtype=np.uint8), (6, 1))
            return np.repeat(columns[..., None], 3, axis=2), columns, ""

    sample = TrainingSet(Ramp(), same, seed=0, margin=2)[0, 0]
    assert sample["image"].shape == (3, 10, 12)
    assert sample["target"].shape == (6, 8)
    row = (sample["image"][0, 5] * 255).round().int().tolist()
    assert row == [2, 1, 0, 1, 2, 3, 4, 5, 6, 7, 6, 5]
    assert sample["target"][0].tolist() == list(range(8))


def test_pixel_weights_are_those_of_the_augmented_target() -> None:
    def flip(image: np.ndarray, target: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        return image, target + 1

    pairs = TrainingSet(Numbers(), flip, seed=0, pixel_weights=lambda target, _: target.astype(np.float32) * 10)
    batch = collate([pairs[0, 1], pairs[0, 2]])
    assert batch["pixel_weights"][:, 0, 0].tolist() == [20.0, 30.0]
    assert batch["image"].shape == (2, 3, 6, 8)
    assert batch["target"].dtype == torch.int64


@pytest.mark.parametrize("margin", [0, 3])
def test_instances_are_changed_as_the_target_is(margin: int) -> None:
    class Cells(Numbers):
        """300 instances, each of a class that its number tells."""

        def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray, str]:
            noise = np.random.default_rng(index).integers(0, 256, (20, 30, 3), np.uint8)
            return noise, (self.instances(index) % 7).astype(np.uint8), ""

        def instances(self, index: int) -> np.ndarray:
            numbers = np.arange(301, dtype=np.uint16) + index
            return np.random.default_rng(index).choice(numbers[numbers != 255], (20, 30))

    seen = []

    def weights(target: np.ndarray, instances: np.ndarray) -> np.ndarray:
        assert instances.dtype == np.uint16
        seen.append(instances.max())
        np.testing.assert_array_equal(target, np.where(instances == 255, 255, instances % 7))
        return np.ones(target.shape, np.float32)

    change = Compose(
        RandomWarp(RandomScale(0.6, 1.4), RandomRotation(30), ElasticDeformation(2)),
        RandomCrop(70, 60),  # more than there is
        RandomDihedral(),
        ColorJitter(),
    )
    pairs = TrainingSet(Cells(), change, seed=4, margin=margin, pixel_weights=weights)
    for epoch in range(4):
        target = pairs[epoch, 2]["target"]
        assert 0 < int((target == 255).sum()) < target.numel()
    assert max(seen) > 255


def test_validation_images_are_dealt_out_once_each() -> None:
    seen = [
        int(part[i]["target"][0, 0])
        for rank in range(2)
        for part in [ValidationSet(Numbers(), rank, 2)]
        for i in range(len(part))
    ]
    assert sorted(seen) == [0, 1, 2, 3, 4]
