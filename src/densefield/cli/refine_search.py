"""`densefield refine search`: the settings of the dense CRF that fit a labelled folder best, by mean IoU."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

from cyclopts import Parameter

from densefield.cli.crf_kernels import CERTAINTY

Values: TypeAlias = Annotated[tuple[float, ...], Parameter(consume_multiple=True, negative=())]


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
        alpha: Widths in pixels over which color matters.
        beta: Widths in color, 8-bit units.
        bilateral_weight: Weights of the kernel of places and colors.
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
    import numpy as np

    from densefield.checks import InputError, check
    from densefield.cli.guesses import Guess, find_guesses, suffixes_among, what_is_given
    from densefield.cli.jobs import find_sources
    from densefield.cli.pool import outcomes
    from densefield.cli.searching import VALUES, Trials, check_classes, counts_of, mean_iou, settings_of, show, write
    from densefield.images.bands import Reading

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
    settings = settings_of((alpha, beta, bilateral_weight, gamma, spatial_weight), trials, seed)
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
        tasks.append(Trials(source, guess, right.source, settings, iterations, ignore, reading))
    check_classes(tasks, truth, ignore)  # better said now than after all images
    total = np.zeros((len(settings) + 1, VALUES, VALUES), np.int64)
    for _, counted in outcomes(counts_of, tasks, workers=workers, title="searching"):
        if isinstance(counted, Exception):
            raise counted
        size = counted.shape[1]
        total[:, :size, :size] += counted
    ious = [mean_iou(counts) for counts in total]
    show(settings, ious, len(tasks))
    if out is not None:
        write(out, settings, ious)
    return 0
