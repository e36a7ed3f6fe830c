"""`densefield refine search`: the settings of the dense CRF that fit a labelled folder best, by mean IoU."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, TypeAlias

import numpy as np
from cyclopts import Parameter
from numpy.typing import NDArray
from rich.table import Table

from densefield.bands import Reading
from densefield.checks import InputError, check
from densefield.cli.guesses import CERTAINTY, Guess, beliefs, find_guesses, suffixes_among, what_is_given
from densefield.cli.jobs import find_sources
from densefield.cli.pool import outcomes
from densefield.cli.terminal import plain_console
from densefield.files import atomic_write
from densefield.images import read_image, read_labels
from densefield.listing import Picture

_VALUES = 256  # of labels in a mask

Values: TypeAlias = Annotated[tuple[float, ...], Parameter(consume_multiple=True, negative=())]


@dataclasses.dataclass(frozen=True, order=True)
class Setting:
    """One trial: widths and weights of the two kernels."""

    alpha: float
    beta: float
    bilateral_weight: float
    gamma: float
    spatial_weight: float

    def flags(self) -> str:
        """What to hand `densefield refine`."""
        fields = dataclasses.asdict(self)
        return " ".join(f"--{name.replace('_', '-')} {value:g}" for name, value in fields.items())


@dataclasses.dataclass(frozen=True)
class _Trials:
    """One labelled image and all settings to try on it."""

    image: Picture
    guess: Guess
    truth: Picture
    settings: tuple[Setting, ...]
    iterations: int
    ignore: int
    reading: Reading


def search(
    images: Path,
    truth: Path,
    /,
    *,
    labels: Path | None = None,
    scores: Path | None = None,
    alpha: Values = (30, 50, 70, 90),
    beta: Values = (3, 5, 10),
    bilateral_weight: Values = (3, 5, 10),
    gamma: Values = (3,),
    spatial_weight: Values = (3,),
    iterations: int = 10,
    trials: int | None = None,
    seed: int = 0,
    certainty: float = CERTAINTY,
    unsure: int | None = None,
    probabilities: bool = False,
    threshold: int | None = None,
    suffix: str = "",
    truth_suffix: str = "",
    bands: str | None = None,
    range: str | None = None,
    ignore: int = 255,
    out: Path | None = None,
    workers: int = 0,
) -> int:
    """Try settings of the dense CRF on labelled images and rank them by mean IoU over all pixels together.

    Every combination of the values is tried, or some of them at random (--trials). Lattices are built once for
    all trials of the same widths.

    Args:
        images: A folder of images.
        truth: A folder of the right masks, with the images' names.
        labels: A folder of rough masks to refine.
        scores: A folder of scores before softmax (K, H, W) as .npy to refine.
        alpha: Widths in pixels over which colour matters.
        beta: Widths in colour, 8-bit units.
        bilateral_weight: Weights of the kernel of places and colours.
        gamma: Widths in pixels of the kernel that only smooths.
        spatial_weight: Weights of the kernel that only smooths.
        iterations: How many updates.
        trials: Try so many combinations, drawn at random.
        seed: Which random combinations.
        certainty: How probable a rough mask's label is to be right.
        unsure: The rough mask's value that means "could be anything".
        probabilities: The scores are probabilities, after softmax.
        threshold: Make two classes, 0 and 255, of soft, smoothed or JPEG rough masks: at least so bright is 255.
        suffix: What stands behind the image's name in that of its rough mask or scores: _rough for NAME_rough.png.
        truth_suffix: The same for its right mask: _mask for NAME_mask.png. All may then lie in one folder.
        bands: Which bands of the images are red, green and blue, such as 4,3,2, where their files do not say it.
        range: Which values of the images are black and white, such as 0,4095, where their files do not say it.
        ignore: The right mask's value that does not count.
        out: Also write every setting and its mean IoU to this CSV file.
        workers: How many images at a time, each in its own process; 0: one a processor.
    """
    given = what_is_given(
        labels,
        scores,
        certainty=certainty,
        unsure=unsure,
        probabilities=probabilities,
        threshold=threshold,
        suffix=suffix,
    )
    right_ones = what_is_given(truth, None, suffix=truth_suffix)
    check(images.is_dir(), f"{images}: wanted a folder of images")
    check(truth.is_dir(), f"{truth}: wanted a folder of masks with the images' names")
    check(iterations >= 0, f"iterations: wanted 0 or more, received {iterations}")
    check(seed >= 0, f"seed: wanted 0 or more, received {seed}")
    check(out is None or not out.is_dir(), f"{out}: is a folder; wanted a CSV file")
    settings = _settings((alpha, beta, bilateral_weight, gamma, spatial_weight), trials, seed)
    reading = Reading.of_words(bands, range)
    tasks = []
    sources = find_sources(images, without=suffixes_among(images, given, right_ones)).pictures
    guesses, rights = find_guesses(sources, images, given), find_guesses(sources, images, right_ones)
    for source, guess, right in zip(sources, guesses, rights, strict=True):
        for found in (guess, right):
            if isinstance(found, InputError):
                raise found
        assert isinstance(guess, Guess)
        assert isinstance(right, Guess)
        tasks.append(_Trials(source, guess, right.source, settings, iterations, ignore, reading))
    _check_classes(tasks, truth, ignore)  # better said now than after all images
    total = np.zeros((len(settings) + 1, _VALUES, _VALUES), np.int64)
    for _, counted in outcomes(_counted, tasks, workers=workers, title="searching"):
        if isinstance(counted, Exception):
            raise counted
        size = counted.shape[1]
        total[:, :size, :size] += counted
    ious = [_mean_iou(counts) for counts in total]
    _show(settings, ious, len(tasks))
    if out is not None:
        _write(out, settings, ious)
    return 0


def _check_classes(tasks: Sequence[_Trials], truth: Path, ignore: int) -> None:
    """Raise `InputError` unless the right masks hold two classes that count; most often the first one does."""
    seen: set[int] = set()
    for task in tasks:
        seen.update(np.unique(read_labels(task.truth)).tolist())
        if len(seen - {ignore}) > 1:
            return
    raise InputError(
        f"{truth}: its masks hold but one class besides {ignore}, which is not counted; if {ignore} is a class, as in "
        "masks of 0 and 255, say --ignore -1"
    )


def _settings(values: Sequence[Sequence[float]], trials: int | None, seed: int) -> tuple[Setting, ...]:
    for field, some in zip(dataclasses.fields(Setting), values, strict=True):
        check(
            bool(some) and all(value > 0 for value in some), f"{field.name}: wanted positive numbers, received {some}"
        )
    grid = sorted({Setting(*map(float, combination)) for combination in itertools.product(*values)})
    if trials is None:
        return tuple(grid)
    check(trials >= 1, f"trials: wanted at least 1, received {trials}")
    chosen = np.random.default_rng(seed).permutation(len(grid))[:trials]
    return tuple(sorted(grid[index] for index in chosen))


def _counted(task: _Trials) -> NDArray[np.int64]:  # (1 + settings, values, values)
    """Confusion counts of one image: first without a CRF, then for each setting."""
    from densefield.metrics.confusion import confusion_counts

    image = read_image(task.image, task.reading)
    scores, values = beliefs(task.guess, image.shape[:2])
    truth = read_labels(task.truth)
    check(
        truth.shape == image.shape[:2],
        f"{task.truth}: is {truth.shape[1]}×{truth.shape[0]} pixels, {task.image} {image.shape[1]}×{image.shape[0]}; "
        "wanted one size",
    )
    check(truth.min() >= 0 and truth.max() < _VALUES, f"{task.truth}: holds {truth.max()}; wanted values of 0 to 255")
    counted = truth[truth != task.ignore]
    size = 1 + max(int(values.max()), int(counted.max()) if counted.size else 0)
    # What does not count must not look like a class.
    truth = np.where(truth == task.ignore, -1, truth.astype(np.int64))
    maps = itertools.chain([scores.argmax(0)], _refined(task, image, scores))
    counts = [confusion_counts(values[labels], truth, size, ignore_index=-1).numpy() for labels in maps]
    return np.stack(counts)


def _refined(task: _Trials, image: NDArray[np.uint8], scores: NDArray[np.float32]) -> Iterator[NDArray[np.intp]]:
    """The label map (H, W) of each setting in turn; settings are sorted, so equal widths follow each other."""
    import torch

    from densefield.refine import BilateralKernel, SpatialKernel
    from densefield.refine.mean_field import pairwise_terms, run, with_lattices

    unary = -torch.from_numpy(scores)[None]
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None]
    for (alpha, beta), group in itertools.groupby(task.settings, key=lambda setting: (setting.alpha, setting.beta)):
        bilateral = with_lattices(pairwise_terms(unary, [BilateralKernel(alpha, beta, 1.0)], image=pixels))[0]
        for setting in group:
            spatial = pairwise_terms(unary, [SpatialKernel(setting.gamma, setting.spatial_weight)])[0]
            weighted = dataclasses.replace(bilateral, compatibility=bilateral.compatibility * setting.bilateral_weight)
            with torch.no_grad():
                log_q = run(unary, [spatial, weighted], task.iterations, "symmetric")
            yield log_q[0].argmax(0).numpy()


def _mean_iou(counts: NDArray[np.int64]) -> float:
    import torch

    from densefield.metrics import ConfusionMatrix

    matrix = ConfusionMatrix(_VALUES)
    matrix.counts += torch.from_numpy(counts)
    return matrix.mean_iou()


def _show(settings: Sequence[Setting], ious: Sequence[float], images: int) -> None:
    console = plain_console(soft_wrap=False)
    table = Table(title=f"Mean IoU over {images} images, {len(settings)} settings", title_justify="left")
    for name in ("mean IoU", "alpha", "beta", "bilateral weight", "gamma", "spatial weight"):
        table.add_column(name, justify="right")
    ranked = sorted(zip(ious[1:], settings, strict=True), key=lambda pair: (-pair[0], pair[1]))
    for iou, setting in ranked[:10]:
        table.add_row(f"{100 * iou:.2f} %", *(f"{value:g}" for value in dataclasses.astuple(setting)))
    table.add_row(f"{100 * ious[0]:.2f} %", "without a CRF")
    console.print(table)
    best, setting = ranked[0]
    if best > ious[0]:
        print(f"best: {setting.flags()}")
    else:
        print("best: no CRF; no setting tried does better than what was given")


def _write(out: Path, settings: Sequence[Setting], ious: Sequence[float]) -> None:
    names = [field.name for field in dataclasses.fields(Setting)]
    lines = [",".join(["mean_iou", *names]), f"{ious[0]:.6f}" + "," * len(names)]
    for iou, setting in zip(ious[1:], settings, strict=True):
        lines.append(",".join([f"{iou:.6f}", *(f"{value:g}" for value in dataclasses.astuple(setting))]))
    with atomic_write(out) as file:
        file.write(("\n".join(lines) + "\n").encode())
