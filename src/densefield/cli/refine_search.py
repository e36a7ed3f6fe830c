"""`densefield refine search`: the settings of the dense CRF that fit a labelled folder best, by mean IoU."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, TypeAlias

from cyclopts import Parameter

from densefield.cli.flags import Pixels, Rough, Workers

Values: TypeAlias = Annotated[tuple[float, ...], Parameter(consume_multiple=True, negative=())]


@Parameter(name="*")
@dataclasses.dataclass(frozen=True)
class Grid:
    """The values to try, each with each.

    Args:
        alpha: Widths in pixels over which color matters.
        beta: Widths in color, 8-bit units.
        bilateral_weight: Weights of the kernel of places and colors.
        gamma: Widths in pixels of the kernel that only smooths.
        spatial_weight: Weights of the kernel that only smooths.
    """

    alpha: Values = (30, 50, 70, 90)
    beta: Values = (3, 5, 10)
    bilateral_weight: Values = (3, 5, 10)
    gamma: Values = (3,)
    spatial_weight: Values = (3,)


@Parameter(name="*")
@dataclasses.dataclass(frozen=True)
class Trying:
    """How the search goes.

    Args:
        truth_suffix: What stands behind the image's name in that of its right mask; all may then lie in one folder.
        ignore: The right mask's value that does not count.
        iterations: How many updates.
        trials: Try so many combinations, drawn at random.
        seed: Which random combinations.
        out: Also write every setting and its mean IoU to this CSV file.
    """

    truth_suffix: str = ""
    ignore: int = 255
    iterations: int = 10
    trials: int | None = None
    seed: int = 0
    out: Path | None = None
    workers: Workers = 0


def search(
    images: Path,
    truth: Path,
    /,
    *,
    rough: Rough = Rough(),
    pixels: Pixels = Pixels(),
    grid: Grid = Grid(),
    trying: Trying = Trying(),
) -> int:
    """Try settings of the dense CRF on labelled images and rank them by mean IoU over all pixels together.

    Every combination of the values is tried, or some of them at random (--trials). Lattices are built once for
    all trials of the same widths.

    Args:
        images: A folder of images.
        truth: A folder of the right masks, with the images' names.
    """
    from densefield.checks import check
    from densefield.cli.guesses import find_guesses, present, suffixes_among, what_is_given
    from densefield.cli.jobs import find_sources
    from densefield.cli.searching import Trials, check_classes, mean_ious, settings_of, show, write

    out, ignore, iterations = trying.out, trying.ignore, trying.iterations
    given = what_is_given(rough)
    right_ones = what_is_given(Rough(truth, suffix=trying.truth_suffix))
    check(images.is_dir(), f"{images}: wanted a folder of images")
    check(truth.is_dir(), f"{truth}: wanted a folder of masks with the images' names")
    check(iterations >= 0, f"iterations: wanted 0 or more, received {iterations}")
    check(out is None or not out.is_dir(), f"{out}: is a folder; wanted a CSV file")
    settings = settings_of(grid, trying.trials, trying.seed)
    pictures, _ = find_sources(images, without=suffixes_among(images, given, right_ones))
    guesses, rights = find_guesses(pictures, images, given), find_guesses(pictures, images, right_ones)
    tasks = [
        Trials(picture, present(guess), present(mask).source, settings, iterations, ignore, pixels.reading)
        for picture, guess, mask in zip(pictures, guesses, rights, strict=True)
    ]
    check_classes(tasks, truth, ignore)  # better said now than after all images
    ious = mean_ious(tasks, trying.workers)
    show(settings, ious, len(tasks))
    if out is not None:
        write(out, settings, ious)
    return 0
