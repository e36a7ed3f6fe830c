"""`densefield predict`: segment one image, a folder of images, or the image on standard input."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from densefield.cli.flags import Device, Pixels, Results, Seen, Tile, Trust, trusted


def predict(
    run: Path,
    image: Annotated[Path, Parameter(allow_leading_hyphen=True)],  # "-" is standard input
    /,
    *,
    wanted: Results,
    tile: Tile = None,
    overlap: int | None = None,
    seen: Seen = Seen(),
    pixels: Pixels = Pixels(),
    device: Device = "auto",
    trust: Trust = None,
) -> int:
    """Segment images of any size: OUT/NAME.png holds each pixel's class as a palette PNG.

    Images over two megapixels are segmented in tiles of 1024 pixels a side, unless --tile says otherwise.

    Args:
        run: A training run's folder, or a .safetensors file.
        image: An image, a folder of images, or - for standard input.
        overlap: How many pixels a tile sees beyond what it decides; more is slower and closer to the whole image.

    Returns 0, or 2 when a file failed: the others are done all the same, and a summary names what failed and why.
    """
    from densefield.checks import check
    from densefield.cli.jobs import find_sources, plan_jobs, summarize
    from densefield.cli.pool import outcomes
    from densefield.cli.segmenting import segment
    from densefield.devices import device_named
    from densefield.segmenter import Segmenter

    check(tile is None or tile >= 1, f"tile: wanted at least one pixel, received {tile}")
    check(overlap is None or overlap >= 0, f"overlap: wanted at least 0 pixels, received {overlap}")
    views = seen.views
    pictures, left_out = find_sources(image)
    jobs = plan_jobs(image, pictures, wanted)
    segmenter = Segmenter.load(run, trust=trusted(trust)).to(device_named(device))
    segmenter.tile = segmenter.tile if tile is None else tile
    segmenter.overlap = segmenter.overlap if overlap is None else overlap
    segmenter.views = views
    segmenter.reading = pixels.reading.over(segmenter.reading)
    waiting = [job for job in jobs if wanted.overwrite or not job.done()]
    ended = outcomes(functools.partial(segment, segmenter), waiting, workers=1, title="segmenting")
    already = len(jobs) - len(waiting)
    return summarize("segmented", ended, wanted.out, already, left_out, "a smaller --tile")
