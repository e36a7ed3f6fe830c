"""Rough masks and scores that stand beside images, read as scores for refinement."""

from __future__ import annotations

import dataclasses
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from densefield.checks import InputError, check, one_line
from densefield.classes import ClassList
from densefield.cli.flags import CERTAINTY, Rough
from densefield.data.sample import IGNORED, target_of
from densefield.images import read_image
from densefield.images.decoding import decoded
from densefield.images.label_values import label_values
from densefield.images.listing import Picture, picture_endings, pictures_of

_LEAST = 1e-5  # of a probability, before its logarithm is taken
_MOST_LABELS = 64  # in one grey mask


@dataclasses.dataclass(frozen=True)
class Guess:
    """A file that says what an image may show: a mask right with probability `certainty`, or scores.

    `threshold` makes two classes of any grey picture, 0 and 255: those darker, and those at least as bright, of 255.
    With `classes` a mask's values are those of the class list, and scores are of its classes. In a folder `suffix`
    stands behind the image's name.
    """

    source: Picture
    scores: bool
    certainty: float = CERTAINTY
    unsure: int | None = None
    probabilities: bool = False
    threshold: int | None = None
    classes: ClassList | None = None
    suffix: str = ""

    @property
    def path(self) -> Path:
        """The file."""
        return self.source.path


def what_is_given(rough: Rough, classes: ClassList | None = None) -> Guess:
    """The masks or scores that a command was given, a file or a folder, and what its flags say of them.

    Raises `InputError` unless one of the two is there, for a flag out of its bounds, and for one of masks beside scores
    or of scores beside masks.
    """
    certainty, threshold, is_mask = rough.certainty, rough.threshold, rough.labels is not None
    path = rough.labels if is_mask else rough.scores
    if path is None or (is_mask and rough.scores is not None):
        raise InputError("labels, scores: wanted one of the two, masks or scores to refine")
    check(0 < certainty < 1, f"certainty: wanted a probability between 0 and 1, received {certainty}")
    check(
        threshold is None or (is_mask and 1 <= threshold <= 255),
        f"threshold: wanted a grey value of 1 to 255, with --labels, received {threshold}",
    )
    check(not (is_mask and rough.probabilities), "probabilities: is said of --scores; a mask takes --certainty")
    check(is_mask or rough.unsure is None, "unsure: is a value of masks, which --labels names; scores have none")
    check(is_mask or certainty == CERTAINTY, "certainty: is that of --labels; scores say it themselves")
    said = {field.name: getattr(rough, field.name) for field in dataclasses.fields(rough)[2:]}
    return Guess(Picture(path), not is_mask, classes=classes, **said)


def suffixes_among(images: Path, *given: Guess) -> tuple[str, ...]:
    """The suffixes by which masks or scores are told from the images that they lie among."""
    return tuple(one.suffix for one in given if one.suffix and one.path.resolve() == images.resolve())


def find_guesses(sources: Sequence[Picture], images: Path, all_of_them: Guess) -> list[Guess | InputError]:
    """For each image of `images` the mask or .npy file: that of `all_of_them`, or of the image's name in its folder.

    An image without one gets the error that says so. Raises `InputError` where what is given is no file or folder as
    `images` is, and where two files of the folder claim one name.
    """
    given, scores = all_of_them.path, all_of_them.scores
    wanted = "a .npy file" if scores else "a mask"
    check(given.exists(), f"{given}: no such file or folder; wanted {wanted}, or a folder of them")

    def guess(source: Picture) -> Guess:
        return dataclasses.replace(all_of_them, source=source)

    if images.is_dir():
        check(given.is_dir(), f"{given}: wanted a folder, as {images} is one")
        known = _by_name(given, scores=scores, suffix=all_of_them.suffix)
        return [
            guess(known[_name(source)]) if _name(source) in known else _missing(source, all_of_them, known)
            for source in sources
        ]
    check(given.is_file(), f"{given}: wanted a file, as {images} is one")
    check(not all_of_them.suffix, f"suffix: tells the files of a folder, and {given} is a file; leave it out")
    is_array = given.suffix.lower() == ".npy"
    check(scores or not is_array, f"{given}: is no mask; give scores as --scores, a label map as PNG")
    check(is_array or not scores, f"{given}: is no .npy file; give masks as --labels, scores saved by numpy.save")
    pages = [Picture(given)] if scores else pictures_of(given)
    check(
        [page.page for page in pages] == [source.page for source in sources],
        f"{images}: holds {len(sources)} pages, {given} {len(pages)}; wanted the same number, or the folders of both,"
        f" with files named {sources[0].stem}{'.npy' if scores else '.png'} and so on",
    )
    return [guess(page) for page in pages]


def present(guess: Guess | InputError) -> Guess:
    """The guess; raises what stands in its place."""
    if isinstance(guess, InputError):
        raise guess
    return guess


def _name(picture: Picture) -> str:
    return unicodedata.normalize("NFC", picture.stem)


def _by_name(folder: Path, *, scores: bool, suffix: str = "") -> dict[str, Picture]:
    """The masks or the .npy files in a folder whose names end in `suffix`, by the rest of their names."""
    endings = {".npy"} if scores else picture_endings() | {".npy"}
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in endings and path.name[0] != ".")
    found: dict[str, Picture] = {}
    for picture in (picture for path in paths for picture in pictures_of(path)):
        name = _name(picture)
        if not name.endswith(suffix):
            continue
        name = name.removesuffix(suffix)
        check(
            name not in found,
            f"{picture}: has the same name as {found.get(name, picture).path.name}, and which is meant is not to be"
            " guessed; keep one of them in the folder",
        )
        found[name] = picture
    if not scores:
        arrays = [name for name, picture in found.items() if picture.path.suffix.lower() == ".npy"]
        for name in arrays:
            found.pop(name)
        check(bool(found) or not arrays, f"{folder}: holds .npy files and no masks; give scores as --scores")
    return found


def _missing(source: Picture, given: Guess, found: Mapping[str, Picture]) -> InputError:
    """That an image has no file of its name, and which may be meant."""
    name, suffix = _name(source), given.suffix
    near = [
        picture.path
        for other, picture in found.items()
        if other.startswith(name) or other.casefold() == name.casefold()
    ]
    hint = ""
    if near:
        rest = near[0].stem.removeprefix(name)
        told = f", or say --suffix {rest} if all are named so" if rest not in ("", near[0].stem) and not suffix else ""
        hint = f"; if {near[0].name} is meant, rename it to {name}{suffix}{near[0].suffix}{told}"
    behind = f" with {suffix!r} behind it" if suffix else ""
    what = "scores" if given.scores else "mask"
    return InputError(f"{source}: has no {what} of its name{behind} in {given.path}{hint}")


def scores_of(guess: Guess, size: tuple[int, ...]) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Scores (K, H, W) for an image of `size`, and what each of the K stands for (K,).

    That is the mask's value, or with a class list the class's index.
    """
    return _of_scores(guess, size) if guess.scores else _of_mask(guess, size)


def _check_size(source: Picture, received: tuple[int, ...], size: tuple[int, ...]) -> None:
    what = f"is {received[1]}×{received[0]} pixels, the image {size[1]}×{size[0]}"
    check(received == size, f"{source}: {what}; wanted one size")


def _of_mask(guess: Guess, size: tuple[int, ...]) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    mask = _labels(guess)
    _check_size(guess.source, mask.shape, size)
    unsure = IGNORED if guess.classes is not None else guess.unsure
    known = np.ones(mask.shape, bool) if unsure is None else mask != unsure
    values = np.unique(mask[known])
    check(values.size > 0, f"{guess.source}: holds nothing but what is unsure; wanted labels too")
    count = len(values)
    check(
        count == 1 or guess.certainty * count > 1,
        f"certainty: wanted more than 1/{count}, as {guess.source} holds {count} labels, received {guess.certainty}; "
        "with less, the mask's own label would be the least likely one",
    )
    scores = np.full((count, *mask.shape), np.log((1 - guess.certainty) / max(count - 1, 1)), np.float32)
    np.put_along_axis(scores, np.searchsorted(values, mask).clip(0, count - 1)[None], np.log(guess.certainty), 0)
    scores[:, ~known] = -np.log(count)
    return scores, values


def _labels(guess: Guess) -> NDArray[np.uint8]:  # (H, W)
    """The mask's label values, with a class list class indices, 255 where unsure.

    Raises `InputError` for a picture whose greys are no labels, and for values that the class list does not know.
    """
    source, classes = guess.source, guess.classes
    if guess.threshold is not None:
        bright = read_image(source).mean(2) >= guess.threshold
        check(
            classes is None or len(classes) == 2,
            f"threshold: makes two classes, the class list names {0 if classes is None else len(classes)}",
        )
        return np.where(bright, 255 if classes is None else 1, 0).astype(np.uint8)
    try:
        with decoded(source) as found:
            indexed = found.picture is not None and found.picture.mode == "P"
            labels = label_values(found, classes)
    except InputError as error:
        if guess.path.suffix.lower() not in (".jpg", ".jpeg", ".jpe", ".jfif"):
            raise
        raise InputError(f"{error}, or give --threshold 128 where it shows two classes") from error
    least, most = int(labels.min()), int(labels.max())
    right = least >= 0 and most <= 255
    check(right, f"{source}: holds {most if most > 255 else least}; wanted label values of 0 to 255")
    counts = np.bincount(labels.ravel(), minlength=256)
    check(
        indexed or not _soft(counts),
        f"{source}: holds {np.count_nonzero(counts)} values, as the soft edges or shades of a grey picture do, and "
        "each would be a class; --threshold 128 makes two classes of it; a palette PNG says that its values are labels",
    )
    return labels.astype(np.uint8) if classes is None else target_of(labels, classes, str(source), guess.unsure)


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
        reason = one_line(error, 100)
        raise InputError(f"{path}: not a readable .npy file ({reason}); save scores by numpy.save") from error
    right = array.ndim == 3 and array.dtype.kind == "f" and 1 <= len(array) <= 255 and array.size > 0
    check(right, f"{path}: wanted scores (K, H, W) in floating point, received {array.dtype} {array.shape}")
    _check_size(guess.source, array.shape[1:], size)  # before a copy: a sparse file of a kilobyte may claim gigabytes
    if guess.classes is not None:
        listed = len(guess.classes)
        count = 2 if len(array) == 1 else len(array)
        check(count == listed, f"{path}: scores of {count} classes, the class list names {listed}")
    scores = np.array(array, np.float32)
    least, most = float(scores.min()), float(scores.max())
    never = least == -np.inf and len(scores) > 1 and bool((scores.max(0) > -np.inf).all())  # a label that cannot be
    check(
        most < np.inf and (never or least > -np.inf),  # neither holds of NaN
        f"{path}: holds NaN or Inf; wanted finite scores, or -Inf for some of a pixel's labels, which cannot be",
    )
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
