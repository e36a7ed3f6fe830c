"""What `densefield predict` does with each image; apart from the command, whose help should not wait for numpy."""

from __future__ import annotations

import contextlib
import io
import itertools
import math
import os
import sys
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from densefield.cli.jobs import STANDARD_INPUT, Job
from densefield.draw import overlay as overlaid
from densefield.files import atomic_write
from densefield.images import read_image, write_image, write_labels

if TYPE_CHECKING:
    import torch

    from densefield.segmenter import Segmenter


class _StandardInput(io.BytesIO):
    """Standard input read to its end, under the name that messages give it."""

    name = "standard input"


def segment(segmenter: Segmenter, job: Job) -> None:
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
