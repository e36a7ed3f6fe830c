"""What would end a run after its first step, or after its last, said before it begins."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import ExifTags, Image

from densefield.checks import InputError, check
from densefield.data import Folder, Published
from densefield.protocols import Pairs
from densefield.runs.recipe import Recipe
from densefield.training import EpochBatches

_IGNORED = 255


def check_trainable(recipe: Recipe, train_pairs: Pairs, val_pairs: Pairs, processes: int = 1) -> None:
    """Raise `InputError` for images that fit no batch or are too few, and splits without labels or a second class."""
    check(len(train_pairs) > 0, f"data: the training split of {recipe.data.kind} is empty")
    check(len(val_pairs) > 0, f"data: the validation split of {recipe.data.kind} is empty; wanted at least one image")
    for split, pairs in (("training", train_pairs), ("validation", val_pairs)):
        # One process without an image would end, and the others wait for it half an hour.
        count = len(pairs)
        few = f"{count} {split} image{'s' * (count > 1)} for {processes} processes"
        check(count >= processes, f"--devices: {few}; wanted at least one image each, so at most {count} processes")
    check_sizes(recipe, train_pairs)
    check_steps(recipe, len(train_pairs), processes)
    for split, pairs in (("training", train_pairs), ("validation", val_pairs)):
        labelled = any((pairs[index].target != _IGNORED).any() for index in range(len(pairs)))
        check(labelled, f"data: no pixel of the {len(pairs)} {split} images is labelled; wanted at least one that is")
    if _learns_from_labels(recipe):
        check_classes(train_pairs)


def check_classes(pairs: Pairs) -> None:
    """Raise `InputError` unless the targets hold two classes: of one alone, everything is right that a network says."""
    seen: set[int] = set()
    ignored = pixels = 0
    for index in range(len(pairs)):
        target = pairs[index].target
        seen.update(np.unique(target).tolist())
        if len(seen - {_IGNORED}) > 1:
            return
        ignored, pixels = ignored + int((target == _IGNORED).sum()), pixels + target.size
    name = pairs.classes.names[next(iter(seen - {_IGNORED}))]
    share = f" ({100 * ignored / pixels:.0f} % of their pixels are ignored)" if ignored else ""
    raise InputError(
        f"data: the only class in the {len(pairs)} training images is {name!r}{share}; wanted two classes at least: "
        "'densefield data check' says what the masks hold"
    )


def _learns_from_labels(recipe: Recipe) -> bool:
    """Whether anything is learned from classes; embeddings may learn from superpixels alone."""
    superpixels = recipe.has_embeddings and recipe.loss.pair_labels == "superpixels"
    return not superpixels or bool(recipe.loss.of_scores)


def check_steps(recipe: Recipe, images: int, processes: int) -> None:
    """Raise `InputError` where an epoch has fewer batches than a step wants."""
    for number, stage in enumerate(recipe.stages):
        batches = EpochBatches(images, stage.batch_size, lambda: (0, 0), seed=0, world_size=processes).batches_an_epoch
        enough = stage.epochs is None or stage.accumulate <= batches
        most = f"wanted at most the {batches} batches of an epoch, received {stage.accumulate}"
        check(enough, f"stages.{number}.accumulate: {most}; give fewer, or steps in place of epochs")


def check_sizes(recipe: Recipe, pairs: Pairs) -> None:
    """Raise `InputError` where a stage would stack images of several sizes into one batch."""
    sizes: set[tuple[int, int]] | None = None
    for number, stage in enumerate(recipe.stages):
        changes = stage.augmentation
        if min(stage.batch_size, len(pairs)) == 1 or changes.crop is not None:
            continue
        place, fix = f"stages.{number}", "give augmentation.crop [height, width], or batch_size 1"
        scaled = changes.scale is not None and changes.scale[0] < changes.scale[1]
        check(not scaled, f"{place}.augmentation.scale: makes images of several sizes, which fit no batch; {fix}")
        sizes = set(_sizes(pairs)) if sizes is None else sizes
        some = ", ".join(f"{height}x{width}" for height, width in sorted(sizes)[:3])
        check(len(sizes) <= 1, f"data: training images have {len(sizes)} sizes ({some} ...), which fit no batch; {fix}")
        oblong = changes.dihedral and any(height != width for height, width in sizes)
        check(
            not oblong,
            f"{place}.augmentation.dihedral: turns images of {some} by 90 degrees, which fit no batch; {fix}",
        )


def _sizes(pairs: Pairs) -> Iterator[tuple[int, int]]:
    """(height, width) of each image; CamVid's, the cell images' and the samples' are all of one size."""
    if isinstance(pairs, Folder | Published):
        for image in pairs.images:
            yield from _declared_size(image)
    else:
        height, width = np.shape(pairs[0].target)
        yield height, width


def _declared_size(source: Any) -> Iterator[tuple[int, int]]:
    """(height, width) by an image's header alone; nothing where that fails, which reading the image will explain."""
    try:
        with warnings.catch_warnings(), Image.open(getattr(source, "path", source)) as picture:
            warnings.simplefilter("ignore")
            page = getattr(source, "page", None)
            picture.seek(0 if page is None else page - 1)
            width, height = picture.size
            turned = picture.getexif().get(ExifTags.Base.Orientation) in (5, 6, 7, 8)
    except Exception:  # decoders raise whatever they stumble over
        return
    yield (width, height) if turned else (height, width)
