"""What `densefield refine search` does; apart from the command, whose help should not wait for numpy."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from densefield.checks import InputError, check, counted
from densefield.cli.guesses import Guess, scores_of
from densefield.cli.pool import outcomes
from densefield.cli.refine_search import Grid
from densefield.cli.terminal import plain_console, table
from densefield.files import atomic_write
from densefield.images import read_image, read_labels
from densefield.images.bands import Reading
from densefield.images.listing import Picture

VALUES = 256  # of labels in a mask


class Setting(NamedTuple):
    """One trial: widths and weights of the two kernels."""

    alpha: float
    beta: float
    bilateral_weight: float
    gamma: float
    spatial_weight: float

    def flags(self) -> str:
        """What to hand `densefield refine`."""
        return " ".join(f"--{name.replace('_', '-')} {value:g}" for name, value in self._asdict().items())


class Trials(NamedTuple):
    """One labelled image and all settings to try on it."""

    image: Picture
    guess: Guess
    truth: Picture
    settings: tuple[Setting, ...]
    iterations: int
    ignore: int
    reading: Reading


def check_classes(tasks: Sequence[Trials], truth: Path, ignore: int) -> None:
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


def settings_of(grid: Grid, trials: int | None, seed: int) -> tuple[Setting, ...]:
    """The settings to try: every combination of the values, or `trials` of them at random."""
    check(seed >= 0, f"seed: wanted 0 or more, received {seed}")
    every_value = dataclasses.asdict(grid)
    for name, values in every_value.items():
        right = bool(values) and all(value > 0 for value in values)
        check(right, f"{name}: wanted positive numbers, received {values}")
    every = sorted({Setting(*map(float, combination)) for combination in itertools.product(*every_value.values())})
    if trials is None:
        return tuple(every)
    check(trials >= 1, f"trials: wanted at least 1, received {trials}")
    chosen = np.random.default_rng(seed).permutation(len(every))[:trials]
    return tuple(sorted(every[index] for index in chosen))


def mean_ious(tasks: Sequence[Trials], workers: int) -> list[float]:
    """The mean IoU over all images together: first without a CRF, then of each setting."""
    import torch

    from densefield.metrics import ConfusionMatrix

    totals = [ConfusionMatrix(VALUES) for _ in range(len(tasks[0].settings) + 1)]
    for _, told in outcomes(counts_of, tasks, workers=workers, title="searching"):
        if isinstance(told, Exception):
            raise told
        for total, counts in zip(totals, torch.from_numpy(told), strict=True):
            total.counts[: len(counts), : len(counts)] += counts
    return [total.mean_iou() for total in totals]


def counts_of(task: Trials) -> NDArray[np.int64]:  # (1 + settings, values, values)
    """Confusion counts of one image: first without a CRF, then for each setting."""
    from densefield.metrics.confusion import confusion_counts

    image = read_image(task.image, task.reading)
    scores, values = scores_of(task.guess, image.shape[:2])
    truth = read_labels(task.truth)
    check(
        truth.shape == image.shape[:2],
        f"{task.truth}: is {truth.shape[1]}×{truth.shape[0]} pixels, {task.image} {image.shape[1]}×{image.shape[0]}; "
        "wanted one size",
    )
    check(truth.min() >= 0 and truth.max() < VALUES, f"{task.truth}: holds {truth.max()}; wanted values of 0 to 255")
    counted = truth[truth != task.ignore]
    size = 1 + max(int(values.max()), int(counted.max()) if counted.size else 0)
    # What does not count must not look like a class.
    truth = np.where(truth == task.ignore, -1, truth.astype(np.int64))
    maps = itertools.chain([scores.argmax(0)], _refined(task, image, scores))
    counts = [confusion_counts(values[labels], truth, size, ignore_index=-1).numpy() for labels in maps]
    return np.stack(counts)


def _refined(task: Trials, image: NDArray[np.uint8], scores: NDArray[np.float32]) -> Iterator[NDArray[np.intp]]:
    """The label map (H, W) of each setting in turn; settings are sorted, so equal widths follow each other."""
    import torch

    from densefield.refine import BilateralKernel, SpatialKernel
    from densefield.refine.mean_field import Inference, pairwise_terms, run, with_lattices

    given = torch.from_numpy(scores)[None]
    pixels = torch.from_numpy(image).permute(2, 0, 1)[None]
    for (alpha, beta), group in itertools.groupby(task.settings, key=lambda setting: (setting.alpha, setting.beta)):
        bilateral = with_lattices(pairwise_terms(given, [BilateralKernel(alpha, beta, 1.0)], image=pixels))[0]
        for setting in group:
            spatial = pairwise_terms(given, [SpatialKernel(setting.gamma, setting.spatial_weight)])[0]
            weighted = dataclasses.replace(bilateral, compatibility=bilateral.compatibility * setting.bilateral_weight)
            with torch.no_grad():
                log_q = run(given, [spatial, weighted], Inference(task.iterations))
            yield log_q[0].argmax(0).numpy()


def show(settings: Sequence[Setting], ious: Sequence[float], images: int) -> None:
    """Print the ten best settings, and the flags of the best one."""
    console = plain_console(soft_wrap=False)
    titles = ("mean IoU", *(name.replace("_", " ") for name in Setting._fields))
    laid = table(*titles, title=f"Mean IoU over {counted(images, 'image')}, {counted(len(settings), 'setting')}")
    ranked = sorted(zip(ious[1:], settings, strict=True), key=lambda pair: (-pair[0], pair[1]))
    for iou, setting in ranked[:10]:
        laid.add_row(f"{100 * iou:.2f} %", *(f"{value:g}" for value in setting))
    laid.add_row(f"{100 * ious[0]:.2f} %", "without a CRF")
    console.print(laid)
    best, setting = ranked[0]
    if best > ious[0]:
        print(f"best: {setting.flags()}")
    else:
        print("best: no CRF; no setting tried does better than what was given")


def write(out: Path, settings: Sequence[Setting], ious: Sequence[float]) -> None:
    """Write every setting with its mean IoU as CSV."""
    lines = [",".join(["mean_iou", *Setting._fields]), f"{ious[0]:.6f}" + "," * len(Setting._fields)]
    for iou, setting in zip(ious[1:], settings, strict=True):
        lines.append(",".join([f"{iou:.6f}", *(f"{value:g}" for value in setting)]))
    with atomic_write(out) as file:
        file.write(("\n".join(lines) + "\n").encode())
