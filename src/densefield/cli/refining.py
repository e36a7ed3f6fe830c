"""What `densefield refine` does with each image; apart from the command, whose help should not wait for numpy."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from densefield.checks import InputError
from densefield.classes import ClassList, default_colors
from densefield.cli.guesses import Guess, present, scores_of
from densefield.cli.jobs import Job
from densefield.draw import overlay as overlaid
from densefield.files import atomic_write
from densefield.images import read_image, write_image, write_labels, write_labels_like
from densefield.images.bands import Reading

if TYPE_CHECKING:
    from densefield.refine import Kernel


class Settings(NamedTuple):
    """How every image is refined."""

    kernels: tuple[Kernel, ...]
    iterations: int
    accurate: bool
    device: str
    classes: ClassList | None
    reading: Reading


class Task(NamedTuple):
    """One image to refine, in a form that another process can be handed."""

    job: Job
    guess: Guess | InputError
    settings: Settings


def refined(task: Task) -> None:
    """Read, refine and write one image, the labels last: they mark it as done."""
    job, guess, classes = task.job, present(task.guess), task.settings.classes
    image = read_image(job.source, task.settings.reading)
    scores, values = scores_of(guess, image.shape[:2])
    log_q = _log_marginals(scores, image, task.settings)
    places = log_q.argmax(0)
    labels: NDArray[np.uint8] = values[places]
    if job.scores is not None:
        with atomic_write(job.scores) as file:
            np.save(file, np.ascontiguousarray(log_q, dtype=np.float32))
    plain = ClassList(tuple(str(number) for number in range(len(values))), default_colors(len(values)))
    if job.overlay is not None:
        write_image(
            job.overlay, overlaid(image, places.astype(np.uint8) if classes is None else labels, classes or plain)
        )
    if classes is None and not guess.scores:
        write_labels_like(job.labels, labels, guess.source)
    else:
        write_labels(job.labels, labels, classes or plain)


def _log_marginals(scores: NDArray[np.float32], image: NDArray[np.uint8], how: Settings) -> NDArray[np.float32]:
    import torch

    from densefield.refine import DenseCRF

    crf = DenseCRF(len(scores), how.kernels, iterations=how.iterations, accurate=how.accurate).to(how.device)
    with torch.no_grad():
        pixels = torch.from_numpy(image).permute(2, 0, 1)[None].to(how.device)
        log_q: NDArray[np.float32] = crf(torch.from_numpy(scores)[None].to(how.device), pixels)[0].cpu().numpy()
    return log_q
