"""What `densefield refine` does with each image; apart from the command, whose help should not wait for numpy."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from densefield.checks import InputError, one_line
from densefield.classes import ClassList, default_colors
from densefield.cli.guesses import Guess, scores_of
from densefield.cli.jobs import Job
from densefield.draw import overlay as overlaid
from densefield.files import atomic_write
from densefield.images import read_image, write_image, write_labels, write_labels_like
from densefield.images.bands import Reading

if TYPE_CHECKING:
    from densefield.refine import Kernel


@dataclasses.dataclass(frozen=True)
class Task:
    """One image to refine, in a form that another process can be handed."""

    job: Job
    guess: Guess | InputError
    kernels: tuple[Kernel, ...]
    iterations: int
    accurate: bool
    device: str
    classes: ClassList | None
    reading: Reading


def refined(task: Task) -> None:
    """Read, refine and write one image, the labels last: they mark it as done."""
    import torch

    from densefield.refine import DenseCRF

    if isinstance(task.guess, InputError):
        raise task.guess
    image = read_image(task.job.source, task.reading)
    scores, values = scores_of(task.guess, image.shape[:2])
    crf = DenseCRF(scores.shape[0], task.kernels, iterations=task.iterations, accurate=task.accurate)
    with torch.no_grad():
        pixels = torch.from_numpy(image).permute(2, 0, 1)[None]
        log_q = (
            crf.to(task.device)(torch.from_numpy(scores)[None].to(task.device), pixels.to(task.device))[0].cpu().numpy()
        )
    labels: NDArray[np.uint8] = values[log_q.argmax(0)]
    classes = task.classes
    if task.job.scores is not None:
        with atomic_write(task.job.scores) as file:
            np.save(file, np.ascontiguousarray(log_q, dtype=np.float32))
    if task.job.overlay is not None:
        places = labels if classes is not None else log_q.argmax(0).astype(np.uint8)
        write_image(task.job.overlay, overlaid(image, places, classes or _plain(len(values))))
    if classes is None and task.guess.scores:
        classes = _plain(len(values))
    if classes is not None:
        write_labels(task.job.labels, labels, classes)
    else:
        write_labels_like(task.job.labels, labels, task.guess.source)


def _plain(count: int) -> ClassList:
    """Classes that are nothing but their numbers."""
    return ClassList(tuple(str(number) for number in range(count)), default_colors(count))


def reason(error: Exception) -> str:
    """Why an image failed, in one line; raises what is a fault of ours."""
    text = one_line(error, 300)
    if isinstance(error, MemoryError) or "allocate memory" in text:
        return text if "worker" in text else "too large for the memory; try --workers 1 or a smaller image"
    if isinstance(error, InputError | RuntimeError):
        return text
    raise error
