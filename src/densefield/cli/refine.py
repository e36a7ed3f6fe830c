"""`densefield refine`: sharpen masks or scores along the edges of their images; `refine search` finds the settings."""

from __future__ import annotations

from pathlib import Path

from densefield.cli.crf_kernels import CERTAINTY, NONE, Numbers, Preset, chosen_kernels
from densefield.cli.refine_search import search

__all__ = ["refine", "search"]


def refine(
    image: Path,
    /,
    *,
    out: Path,
    labels: Path | None = None,
    scores: Path | None = None,
    preset: Preset = "default",
    numbers: Numbers = NONE,
    iterations: int = 10,
    certainty: float = CERTAINTY,
    unsure: int | None = None,
    probabilities: bool = False,
    threshold: int | None = None,
    suffix: str = "",
    bands: str | None = None,
    range: str | None = None,
    device: str = "cpu",
    accurate: bool = False,
    classes: Path | None = None,
    overlay: bool = False,
    save_scores: bool = False,
    workers: int = 0,
    overwrite: bool = False,
) -> int:
    """Sharpen rough masks (--labels) or scores (--scores) along image edges by a dense CRF: OUT/NAME.png.

    Args:
        image: An image, or a folder of images.
        out: The folder for the refined masks; it is made where it is missing.
        labels: The rough mask, or a folder of masks with the images' names; their values are kept.
        scores: Scores before softmax (K, H, W) as .npy, or a folder of them with the images' names; a single map
            (1, H, W) is what a sigmoid takes, and its classes are 0 and 1.
        preset: Published settings: default (Krähenbühl and Koltun: 10, 80, 13 / 3, 3) or one of DeepLab's models.
        iterations: How many updates.
        certainty: How probable the mask's label is to be right.
        unsure: The mask's value that means "could be anything", such as 255; so does the class list's ignore_index.
        probabilities: The scores are probabilities, after softmax.
        suffix: What stands behind the image's name in that of its mask or scores: _mask for NAME_mask.png; both may
            then lie in one folder.
        threshold: Make two classes, 0 and 255, of a soft, smoothed or JPEG mask: what is at least so bright is 255.
        bands: Which bands of the image are red, green and blue, such as 4,3,2, where its file does not say it.
        range: Which values of the image are black and white, such as 0,4095, where its file does not say it.
        device: Where to compute: cpu, cuda, cuda:1, mps, or auto for the best there is; any but cpu takes one image
            at a time.
        accurate: Average shifted lattices: slower, closer to the exact model.
        classes: A class list (YAML): what the mask's values or colors mean, and the colors of the results.
        overlay: Also draw the result over the image, as OUT/overlays/NAME.png.
        save_scores: Also keep log-marginals, float32 (K, H, W), as OUT/scores/NAME.npy.
        workers: How many images at a time, each in its own process; 0: one a processor.
        overwrite: Refine again what OUT already holds.

    Returns 0, or 2 when a file failed: the others are done all the same, and a summary names what failed and why.
    """
    from densefield.checks import check
    from densefield.classes import ClassList
    from densefield.cli.guesses import Guess, find_guesses, suffixes_among, what_is_given
    from densefield.cli.jobs import find_sources, plan_jobs, summarize
    from densefield.cli.pool import outcomes
    from densefield.cli.refining import Task, reason, refined
    from densefield.devices import device_named
    from densefield.files import Unwritable
    from densefield.images.bands import Reading

    listed = None if classes is None else ClassList.read(classes)
    given = what_is_given(
        labels,
        scores,
        certainty=certainty,
        unsure=unsure,
        probabilities=probabilities,
        threshold=threshold,
        classes=listed,
        suffix=suffix,
    )
    check(iterations >= 0, f"iterations: wanted 0 or more, received {iterations}")
    check(image.exists(), f"{image}: no such file or folder; wanted an image or a folder of images")
    kernels = chosen_kernels(preset, numbers)
    place = str(device_named(device))
    reading = Reading.of_words(bands, range)
    sources = find_sources(image, without=suffixes_among(image, given))
    jobs = plan_jobs(image, sources.pictures, out, overlay=overlay, scores=save_scores)
    guesses = find_guesses(sources.pictures, image, given)
    taken = {guess.path.resolve() for guess in guesses if isinstance(guess, Guess)}
    for job in jobs:
        for path in job.outputs():
            check(path.resolve() not in taken, f"{path}: would overwrite a mask to refine; choose another --out")
    tasks = [
        Task(job, guess, kernels, iterations, accurate, place, listed, reading)
        for job, guess in zip(jobs, guesses, strict=True)
        if overwrite or not job.done()
    ]
    failed = []
    for task, outcome in outcomes(refined, tasks, workers=workers if place == "cpu" else 1, title="refining"):
        if isinstance(outcome, Unwritable) and not outcome.for_its_name:
            raise outcome  # the next would fail alike
        if isinstance(outcome, Exception):
            failed.append((task.job.source, reason(outcome)))
    summarize("refined", out, len(tasks) - len(failed), len(jobs) - len(tasks), failed, sources.left_out)
    return 2 if failed else 0
