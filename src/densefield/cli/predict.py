"""`densefield predict`: segment one image, a folder of images, or the image on standard input."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter


def predict(
    run: Path,
    image: Annotated[Path, Parameter(allow_leading_hyphen=True)],  # "-" is standard input
    /,
    *,
    out: Path,
    overlay: bool = False,
    scores: bool = False,
    tile: int | None = None,
    overlap: int | None = None,
    bands: str | None = None,
    range: str | None = None,
    device: str = "auto",
    overwrite: bool = False,
) -> int:
    """Segment images of any size: OUT/NAME.png holds each pixel's class as a palette PNG.

    Args:
        run: A training run's folder, or a .safetensors file.
        image: An image, a folder of images, or - for standard input.
        out: The folder for the results; it is made where it is missing.
        overlay: Also draw the classes over the image, as OUT/overlays/NAME.png.
        scores: Also keep the scores before softmax, float32 (K, H, W), as OUT/scores/NAME.npy.
        tile: Segment in tiles of so many pixels a side; by default images over two megapixels in tiles of 1024.
        overlap: How many pixels a tile sees beyond what it decides; more is slower and closer to the whole image.
        bands: Which bands of the image are red, green and blue, such as 4,3,2; by default those of the training.
        range: Which values of the image are black and white, such as 0,4095; by default as in the training.
        device: Where to compute: cpu, cuda, cuda:1, mps, or auto for the best there is.
        overwrite: Segment again what OUT already holds.

    Returns 0, or 2 when a file failed: the others are done all the same, and a summary names what failed and why.
    """
    from densefield.checks import check
    from densefield.cli.jobs import STANDARD_INPUT, find_sources, plan_jobs, summarize
    from densefield.cli.segmenting import failure, shown
    from densefield.devices import device_named
    from densefield.images.bands import Reading
    from densefield.segmenter import Segmenter

    check(tile is None or tile >= 1, f"tile: wanted at least one pixel, received {tile}")
    check(overlap is None or overlap >= 0, f"overlap: wanted at least 0 pixels, received {overlap}")
    sources = find_sources(image)
    jobs = plan_jobs(image, sources.pictures, out, overlay=overlay, scores=scores)
    segmenter = Segmenter.load(run).to(device_named(device))
    segmenter.tile = segmenter.tile if tile is None else tile
    segmenter.overlap = segmenter.overlap if overlap is None else overlap
    segmenter.reading = Reading.of_words(bands, range).over(segmenter.reading)
    waiting = [job for job in jobs if overwrite or job.source.path == STANDARD_INPUT or not job.done()]
    with contextlib.closing(shown(waiting)) as each:
        reasons = [(job.source, failure(segmenter, job)) for job in each]
    failed = [(source, reason) for source, reason in reasons if reason is not None]
    summarize("segmented", out, len(waiting) - len(failed), len(jobs) - len(waiting), failed, sources.left_out)
    return 2 if failed else 0
