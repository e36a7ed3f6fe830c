"""Many small tasks on worker processes, with a progress bar; a task that fails does not stop the others."""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from densefield.checks import check

Task = TypeVar("Task")
Outcome = TypeVar("Outcome")


def outcomes(
    work: Callable[[Task], Outcome],
    tasks: Sequence[Task],
    *,
    workers: int,
    title: str,
) -> Iterator[tuple[Task, Outcome | Exception]]:
    """Yield each task with `work(task)`, or with the exception it raised, in the order in which they end.

    `workers` processes share the tasks, 0 means one a processor; a single one works in this process, with all threads.
    A process that dies (memory) ends the tasks that had not ended with a `MemoryError`.
    """
    check(workers >= 0, f"workers: wanted 0 or more, received {workers}")
    count = min(workers or os.cpu_count() or 1, len(tasks))
    found = _shared(work, tasks, count) if count > 1 else ((task, _attempt(work, task)) for task in tasks)
    if len(tasks) < 2:
        yield from found
        return
    columns = (TextColumn(title), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield from progress.track(found, total=len(tasks))


def _attempt(work: Callable[[Task], Outcome], task: Task) -> Outcome | Exception:
    try:
        return work(task)
    except Exception as error:
        return error


def _shared(
    work: Callable[[Task], Outcome], tasks: Sequence[Task], count: int
) -> Iterator[tuple[Task, Outcome | Exception]]:
    # A forked process may hang in torch's threads: start fresh ones.
    context = multiprocessing.get_context("spawn")
    pool = concurrent.futures.ProcessPoolExecutor(count, mp_context=context, initializer=_one_thread)
    try:
        waiting = {pool.submit(work, task): task for task in tasks}
        for future in concurrent.futures.as_completed(waiting):
            error = future.exception()
            if error is None:
                yield waiting[future], future.result()
            elif isinstance(error, BrokenProcessPool):
                yield waiting[future], MemoryError("a worker process died, likely for lack of memory; try --workers 1")
            elif isinstance(error, Exception):
                yield waiting[future], error
            else:
                raise error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _one_thread() -> None:
    """The processes themselves keep every processor busy."""
    import torch

    torch.set_num_threads(1)
