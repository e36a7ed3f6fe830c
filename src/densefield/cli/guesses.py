"""Rough masks and scores that stand beside images, read as scores for refinement."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from densefield.checks import InputError, check
from densefield.files import atomic_write
from densefield.images import read_image, read_labels
from densefield.listing import Picture

_MASKS = (".png", ".tif", ".tiff", ".bmp", ".gif", ".webp")
_LEAST = 1e-5  # of a probability, before its logarithm is taken
_MOST_LABELS = 64  # in one grey mask


@dataclasses.dataclass(frozen=True)
class Guess:
    """A file that says what an image may show: a mask right with probability `certainty`, or scores.

    `threshold` makes two classes of any grey picture, 0 and 255: those darker, and those at least as bright, of 255.
    """

    path: Path
    scores: bool
    certainty: float = 0.7
    unsure: int | None = None
    probabilities: bool = False
    threshold: int | None = None

    def write_alike(self, path: Path, labels: NDArray[np.uint8]) -> None:
        """Write labels (H, W) as the mask's own kind of PNG: with its palette, or grey."""
        picture = Image.fromarray(labels)
        with Image.open(self.path) as mask:
            palette = mask.getpalette() if mask.mode == "P" else None
        if palette is not None:
            picture.putpalette(palette)
        with atomic_write(path) as file:
            picture.save(file, format="PNG")


def check_threshold(threshold: int | None, labels: Path | None) -> None:
    """Raise `InputError` unless the threshold is absent, or a grey value to part masks at."""
    check(
        threshold is None or (labels is not None and 1 <= threshold <= 255),
        f"threshold: wanted a grey value of 1 to 255, with --labels, received {threshold}",
    )


def guess_of(
    source: Picture,
    images: Path,
    given: Path,
    *,
    certainty: float = 0.7,
    unsure: int | None = None,
    probabilities: bool = False,
    threshold: int | None = None,
) -> Guess | None:
    """The guess for one image: the file `given` itself, or the one of the image's name in the folder `given`."""
    check(given.exists(), f"{given}: no such file or folder; wanted a mask, a .npy file, or a folder of them")
    if images.is_dir():
        check(given.is_dir(), f"{given}: wanted a folder, as {images} is one")
        found = [given / f"{source.stem}{ending}" for ending in (".npy", *_MASKS)]
        path = next((path for path in found if path.is_file()), None)
    else:
        check(given.is_file(), f"{given}: wanted a file, as {images} is one")
        wanted = f"the folders of both, with masks named {source.stem}.png and so on"
        check(source.page is None, f"{images}: holds several pages, {given} is one file; wanted {wanted}")
        path = given
    if path is None:
        return None
    return Guess(path, path.suffix.lower() == ".npy", certainty, unsure, probabilities, threshold)


def beliefs(guess: Guess, size: tuple[int, ...]) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Scores (K, H, W) for an image of `size`, and the label value that each of the K stands for (K,)."""
    return _of_scores(guess, size) if guess.scores else _of_mask(guess, size)


def _check_size(path: Path, received: tuple[int, ...], size: tuple[int, ...]) -> None:
    what = f"is {received[1]}×{received[0]} pixels, the image {size[1]}×{size[0]}"
    check(received == size, f"{path}: {what}; wanted one size")


def _of_mask(guess: Guess, size: tuple[int, ...]) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    mask = _labels(guess)
    _check_size(guess.path, mask.shape, size)
    known = np.ones(mask.shape, bool) if guess.unsure is None else mask != guess.unsure
    values = np.unique(mask[known])
    check(values.size > 0, f"{guess.path}: holds nothing but the unsure value {guess.unsure}; wanted labels too")
    count = len(values)
    check(
        count == 1 or guess.certainty * count > 1,
        f"certainty: wanted more than 1/{count}, as {guess.path} holds {count} labels, received {guess.certainty}; "
        "with less, the mask's own label would be the least likely one",
    )
    scores = np.full((count, *mask.shape), np.log((1 - guess.certainty) / max(count - 1, 1)), np.float32)
    np.put_along_axis(scores, np.searchsorted(values, mask).clip(0, count - 1)[None], np.log(guess.certainty), 0)
    scores[:, ~known] = -np.log(count)
    return scores, values


def _labels(guess: Guess) -> NDArray[np.uint8]:  # (H, W)
    """The mask's label values; raises `InputError` for a picture whose greys are no labels."""
    path = guess.path
    if guess.threshold is not None:
        bright: NDArray[np.uint8] = 255 * (read_image(path).mean(2) >= guess.threshold).astype(np.uint8)
        return bright
    try:
        mask = read_labels(path)
    except InputError as error:
        if path.suffix.lower() not in (".jpg", ".jpeg", ".jpe", ".jfif"):
            raise
        raise InputError(f"{error}, or give --threshold 128 where it shows two classes") from error
    check(mask.min() >= 0 and mask.max() <= 255, f"{path}: holds {mask.max()}; wanted label values of 0 to 255")
    narrow: NDArray[np.uint8] = mask.astype(np.uint8)
    counts = np.bincount(narrow.ravel(), minlength=256)
    with Image.open(path) as picture:
        indexed = picture.mode == "P"
    check(
        indexed or not _soft(counts),
        f"{path}: holds {np.count_nonzero(counts)} values, as the soft edges or shades of a grey picture do, and each "
        "would be a class; --threshold 128 makes two classes of it, and a palette PNG says that the values are labels",
    )
    return narrow


def _soft(counts: NDArray[np.intp]) -> bool:
    """Whether the counts (256,) of a grey mask's values look like shades, not labels."""
    values = counts.nonzero()[0]
    if len(values) > _MOST_LABELS:
        return True
    between = values[(values > 0) & (values < 255)]
    # Black and white with greys of both halves between them, which are few: an edge that was smoothed.
    smooth = len(between) >= 3 and between[0] < 128 <= between[-1] and counts[between].sum() < 0.2 * counts.sum()
    return bool(counts[0] > 0 and counts[255] > 0 and smooth)


def _of_scores(guess: Guess, size: tuple[int, ...]) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    path = guess.path
    try:
        array = np.lib.format.open_memmap(path, mode="r")
    except Exception as error:  # numpy's reader of headers raises whatever it stumbles over: TokenError, OverflowError
        reason = " ".join(str(error).split())[:100] or type(error).__name__
        raise InputError(f"{path}: not a readable .npy file ({reason}); save scores by numpy.save") from error
    right = array.ndim == 3 and array.dtype.kind == "f" and 1 <= len(array) <= 255 and array.size > 0
    check(right, f"{path}: wanted scores (K, H, W) in floating point, received {array.dtype} {array.shape}")
    _check_size(path, array.shape[1:], size)  # before a copy: a sparse file of a kilobyte may claim gigabytes
    scores = np.array(array, np.float32)
    check(bool(np.isfinite(scores).all()), f"{path}: holds NaN or Inf; wanted finite scores")
    least, most = float(scores.min()), float(scores.max())
    # Half-precision probabilities round to a little more than 1.
    bounded = least >= 0 and most <= 1 + 1e-3
    sums = scores[:, ::7, ::7].sum(0)
    if guess.probabilities:
        check(bounded, f"{path}: holds values from {least:g} to {most:g}; wanted probabilities between 0 and 1")
        if len(scores) == 1:
            scores = np.concatenate([1 - scores, scores])
        scores = np.log(scores.clip(_LEAST, 1))
    elif bounded and (len(scores) == 1 or np.allclose(sums, 1, atol=1e-3)):
        raise InputError(f"{path}: looks like probabilities, not scores before softmax; add --probabilities")
    elif len(scores) == 1:  # what a sigmoid takes: softmax of these two has the same odds
        scores = np.concatenate([-scores / 2, scores / 2])
    return scores, np.arange(len(scores), dtype=np.uint8)
