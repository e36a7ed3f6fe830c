"""`densefield predict`: segment one image, a folder of images, or the image on standard input."""

from __future__ import annotations

import contextlib
import io
import itertools
import math
import os
import sys
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import numpy as np
from cyclopts import Parameter
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from densefield.bands import Reading
from densefield.checks import InputError, check
from densefield.cli.jobs import STANDARD_INPUT, Job, find_sources, plan_jobs, summarize
from densefield.cli.terminal import plain_console
from densefield.draw import overlay as overlaid
from densefield.files import Unwritable, atomic_write
from densefield.images import read_image, write_image, write_labels

if TYPE_CHECKING:
    import torch

    from densefield.segmenter import Segmenter


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
    from densefield.devices import device_named
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
    with contextlib.closing(_shown(waiting)) as shown:
        reasons = [(job.source, _failure(segmenter, job)) for job in shown]
    failed = [(source, reason) for source, reason in reasons if reason is not None]
    summarize("segmented", out, len(waiting) - len(failed), len(jobs) - len(waiting), failed, sources.left_out)
    return 2 if failed else 0


class _StandardInput(io.BytesIO):
    """Standard input read to its end, under the name that messages give it."""

    name = "standard input"


def _failure(segmenter: Segmenter, job: Job) -> str | None:
    """Segment one image; why it failed, or None. A full disk or a locked folder raises: the next would fail alike."""
    try:
        _segment(segmenter, job)
    except Unwritable as error:
        if not error.for_its_name:
            raise
        return str(error)
    except (InputError, MemoryError, RuntimeError) as error:
        text = " ".join(str(error).split())
        if isinstance(error, MemoryError) or "out of memory" in text or "allocate memory" in text:
            return "too large for the memory; try a smaller --tile"
        return text[:300]
    return None


def _segment(segmenter: Segmenter, job: Job) -> None:
    """Read, segment and write one image, the labels last: they mark it as done."""
    if job.source.path == STANDARD_INPUT:
        image = read_image(_StandardInput(sys.stdin.buffer.read()), segmenter.reading)
    else:
        image = read_image(job.source, segmenter.reading)
    labels = np.empty(image.shape[:2], np.uint8)
    with contextlib.ExitStack() as stack:
        file = None if job.scores is None else stack.enter_context(atomic_write(job.scores))
        for top, left, scores in segmenter.score_tiles(image):
            labels[top : top + scores.shape[2], left : left + scores.shape[3]] = scores[0].argmax(dim=0).cpu().numpy()
            if file is not None:
                _write_scores(file, scores[0], top, left, image.shape[:2])
    if job.overlay is not None:
        write_image(job.overlay, overlaid(image, labels, segmenter.classes))
    write_labels(job.labels, labels, segmenter.classes)


def _write_scores(file: BinaryIO, scores: torch.Tensor, top: int, left: int, size: tuple[int, int]) -> None:
    """Put one tile (K, h, w) where it belongs in the .npy array (K, H, W): the whole may not fit in memory."""
    values = np.ascontiguousarray(scores.float().cpu().numpy().astype("<f4", copy=False))
    count, rows, width = values.shape
    shape = (count, *size)
    if file.tell() == 0:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})
        file.truncate(file.tell() + 4 * math.prod(shape))
    begin = file.seek(0, os.SEEK_END) - 4 * math.prod(shape)
    stripe = rows if width == size[1] else 1  # rows that lie one behind the other
    for index, row in itertools.product(range(count), range(0, rows, stripe)):
        file.seek(begin + 4 * ((index * size[0] + top + row) * size[1] + left))
        file.write(values[index, row : row + stripe].tobytes())


def _shown(jobs: Sequence[Job]) -> Generator[Job]:
    """The jobs one by one, with a progress bar where there is more than one."""
    if len(jobs) < 2:
        yield from jobs
        return
    columns = (TextColumn("segmenting"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=plain_console(stderr=True)) as progress:
        yield from progress.track(jobs)
