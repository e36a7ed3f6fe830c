"""`densefield refine`: sharpen masks or scores along the edges of their images; `refine search` finds the settings."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from densefield.cli.flags import CRF, Device, Pixels, Results, Rough, Workers


@Parameter(name="*")
@dataclasses.dataclass(frozen=True)
class Refined(Results):
    """What comes of a CRF: not scores, but log-marginals; and --scores is what goes in."""

    scores: Annotated[
        bool,
        Parameter(name="--save-scores", help="Also keep log-marginals, float32 (K, H, W), as OUT/scores/NAME.npy."),
    ] = False


@Parameter(name="*")
@dataclasses.dataclass(frozen=True)
class Computing:
    """Where it is computed, and how closely.

    Args:
        accurate: Average shifted lattices: slower, closer to the exact model.
    """

    device: Device = "cpu"
    workers: Workers = 0
    accurate: bool = False


def refine(
    image: Path,
    /,
    *,
    wanted: Refined,
    rough: Rough = Rough(),
    classes: Path | None = None,
    crf: CRF = CRF(),
    pixels: Pixels = Pixels(),
    computing: Computing = Computing(),
) -> int:
    """Sharpen rough masks (--labels) or scores (--scores) along image edges by a dense CRF: OUT/NAME.png.

    Values of masks are kept. On a GPU one image is taken at a time, whatever --workers says.

    Args:
        image: An image, or a folder of images.
        classes: A class list (YAML): what the mask's values or colors mean, and the colors of the results.

    Returns 0, or 2 when a file failed: the others are done all the same, and a summary names what failed and why.
    """
    from densefield.checks import check
    from densefield.classes import ClassList
    from densefield.cli.guesses import Guess, find_guesses, suffixes_among, what_is_given
    from densefield.cli.jobs import find_sources, plan_jobs, summarize
    from densefield.cli.pool import outcomes
    from densefield.cli.refining import Settings, Task, refined
    from densefield.devices import device_named

    listed = None if classes is None else ClassList.read(classes)
    given = what_is_given(rough, listed)
    check(image.exists(), f"{image}: no such file or folder; wanted an image or a folder of images")
    device = str(device_named(computing.device))
    settings = Settings(crf.kernels, crf.updates, computing.accurate, device, listed, pixels.reading)
    pictures, left_out = find_sources(image, without=suffixes_among(image, given))
    jobs = plan_jobs(image, pictures, wanted)
    guesses = find_guesses(pictures, image, given)
    taken = {guess.path.resolve() for guess in guesses if isinstance(guess, Guess)}
    for path in (path for job in jobs for path in job.outputs()):
        check(path.resolve() not in taken, f"{path}: would overwrite a mask to refine; choose another --out")
    tasks = [
        Task(job, guess, settings)
        for job, guess in zip(jobs, guesses, strict=True)
        if wanted.overwrite or not job.done()
    ]
    workers = computing.workers if device == "cpu" else 1
    ended = ((task.job, error) for task, error in outcomes(refined, tasks, workers=workers, title="refining"))
    remedy = "--workers 1 or a smaller image"
    return summarize("refined", ended, wanted.out, len(jobs) - len(tasks), left_out, remedy)
