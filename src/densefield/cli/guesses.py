"""Rough masks and scores that stand beside images, read as scores for refinement."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from densefield.checks import InputError, check
from densefield.files import atomic_write
from densefield.images import read_labels

_MASKS = (".png", ".tif", ".tiff", ".bmp", ".gif", ".webp")
_LEAST = 1e-5  # of a probability, before its logarithm is taken


@dataclasses.dataclass(frozen=True)
class Guess:
    """A file that says what an image may show: a mask right with probability `certainty`, or scores."""

    path: Path
    scores: bool
    certainty: float = 0.7
    unsure: int | None = None
    probabilities: bool = False

    def write_alike(self, path: Path, labels: NDArray[np.uint8]) -> None:
        """Write labels (H, W) as the mask's own kind of PNG: with its palette, or grey."""
        picture = Image.fromarray(labels)
        with Image.open(self.path) as mask:
            palette = mask.getpalette() if mask.mode == "P" else None
        if palette is not None:
            picture.putpalette(palette)
        with atomic_write(path) as file:
            picture.save(file, format="PNG")


def guess_of(
    source: Path,
    images: Path,
    given: Path,
    *,
    certainty: float = 0.7,
    unsure: int | None = None,
    probabilities: bool = False,
) -> Guess | None:
    """The guess for one image: the file `given` itself, or the one of the image's name in the folder `given`."""
    check(given.exists(), f"{given}: no such file or folder; wanted a mask, a .npy file, or a folder of them")
    if images.is_dir():
        check(given.is_dir(), f"{given}: wanted a folder, as {images} is one")
        found = [given / f"{source.stem}{ending}" for ending in (".npy", *_MASKS)]
        path = next((path for path in found if path.is_file()), None)
    else:
        check(given.is_file(), f"{given}: wanted a file, as {images} is one")
        path = given
    if path is None:
        return None
    return Guess(path, path.suffix.lower() == ".npy", certainty, unsure, probabilities)


def beliefs(guess: Guess, size: tuple[int, ...]) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Scores (K, H, W) for an image of `size`, and the label value that each of the K stands for (K,)."""
    scores, values = _of_scores(guess) if guess.scores else _of_mask(guess)
    check(
        scores.shape[1:] == size,
        f"{guess.path}: is {scores.shape[2]}×{scores.shape[1]} pixels, the image {size[1]}×{size[0]}; wanted one size",
    )
    return scores, values


def _of_mask(guess: Guess) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    mask = read_labels(guess.path)
    check(mask.min() >= 0 and mask.max() <= 255, f"{guess.path}: holds {mask.max()}; wanted label values of 0 to 255")
    mask = mask.astype(np.uint8)
    known = np.ones(mask.shape, bool) if guess.unsure is None else mask != guess.unsure
    values = np.unique(mask[known])
    check(values.size > 0, f"{guess.path}: holds nothing but the unsure value {guess.unsure}; wanted labels too")
    count = len(values)
    scores = np.full((count, *mask.shape), np.log((1 - guess.certainty) / max(count - 1, 1)), np.float32)
    np.put_along_axis(scores, np.searchsorted(values, mask).clip(0, count - 1)[None], np.log(guess.certainty), 0)
    scores[:, ~known] = -np.log(count)
    return scores, values


def _of_scores(guess: Guess) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    try:
        array = np.load(guess.path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        reason = " ".join(str(error).split())[:100]
        raise InputError(f"{guess.path}: not a readable .npy file ({reason}); save scores by numpy.save") from error
    right = isinstance(array, np.ndarray) and array.ndim == 3 and array.dtype.kind == "f" and 1 <= len(array) <= 255
    what = f"{array.dtype} {array.shape}" if isinstance(array, np.ndarray) else "several arrays"
    check(right and array.size > 0, f"{guess.path}: wanted scores (K, H, W) in floating point, received {what}")
    scores = np.array(array, np.float32)
    check(bool(np.isfinite(scores).all()), f"{guess.path}: holds NaN or Inf; wanted finite scores")
    inside = bool(scores.min() >= 0) and np.allclose(scores[:, ::7, ::7].sum(0), 1, atol=1e-3)
    if guess.probabilities:
        check(bool(scores.min() >= 0), f"{guess.path}: holds values below 0, so these are no probabilities")
        scores = np.log(scores.clip(_LEAST, 1))
    elif inside and len(scores) > 1:
        raise InputError(f"{guess.path}: looks like probabilities, not scores before softmax; add --probabilities")
    return scores, np.arange(len(scores), dtype=np.uint8)
