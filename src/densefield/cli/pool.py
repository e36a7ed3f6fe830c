"""Many small tasks on worker processes, with a progress bar; a task that fails does not stop the others."""

from __future__ import annotations

import concurrent.futures
import contextlib
import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from densefield.checks import check
from densefield.cli.terminal import tracked

Task = TypeVar("Task")
Outcome = TypeVar("Outcome")


def outcomes(
    work: Callable[[Task], Outcome], tasks: Sequence[Task], *, workers: int, title: str
) -> Generator[tuple[Task, Outcome | Exception]]:
    """Yield each task with `work(task)`, or with the exception it raised, in the order in which they end.

    `workers` processes share the tasks, 0 means one a processor; a single one works in this process, with all threads.
    A process may die (memory): the tasks that were in work then are tried once more, each alone; one that kills its
    process again ends with a `MemoryError`, and the others go on.
    """
    check(workers >= 0, f"workers: wanted 0 or more, received {workers}")
    count = min(workers or os.cpu_count() or 1, len(tasks))
    found = _shared(work, tasks, count) if count > 1 else ((task, _attempt(work, task)) for task in tasks)
    yield from tracked(found, title, len(tasks))


def _attempt(work: Callable[[Task], Outcome], task: Task) -> Outcome | Exception:
    try:
        return work(task)
    except Exception as error:
        return error


def _shared(
    work: Callable[[Task], Outcome], tasks: Sequence[Task], count: int
) -> Iterator[tuple[Task, Outcome | Exception]]:
    waiting = deque(tasks)
    while waiting:
        suspects = yield from _until_one_dies(work, waiting, count)
        for task in suspects:
            yield task, _alone(work, task)


def _until_one_dies(
    work: Callable[[Task], Outcome], waiting: deque[Task], count: int
) -> Generator[tuple[Task, Outcome | Exception], None, list[Task]]:
    """Take tasks from `waiting` until none is left, or a process dies: then return the tasks that were in work."""
    with _processes(count) as pool:
        running: dict[concurrent.futures.Future[Outcome], Task] = {}
        suspects: list[Task] = []
        while running or (waiting and not suspects):
            try:
                # No more than what can be begun: whatever else has ended when a process dies is known to be innocent.
                while waiting and not suspects and len(running) < count:
                    running[pool.submit(work, waiting[0])] = waiting[0]
                    waiting.popleft()
            except BrokenProcessPool:
                suspects.append(waiting.popleft())
            ended, _ = concurrent.futures.wait(running, return_when=concurrent.futures.FIRST_COMPLETED)
            for future in ended:
                task = running.pop(future)
                error = future.exception()
                if isinstance(error, BrokenProcessPool):
                    suspects.append(task)
                elif error is None:
                    yield task, future.result()
                elif isinstance(error, Exception):
                    yield task, error
                else:
                    raise error
    return suspects


def _alone(work: Callable[[Task], Outcome], task: Task) -> Outcome | Exception:
    """Try a task once more, with a process and the machine's memory to itself."""
    with _processes(1) as pool:
        try:
            return pool.submit(work, task).result()
        except BrokenProcessPool:
            return MemoryError("its worker process died twice, the second time alone, likely for lack of memory")
        except Exception as error:
            return error


@contextlib.contextmanager
def _processes(count: int) -> Iterator[concurrent.futures.ProcessPoolExecutor]:
    # A forked process may hang in torch's threads: start fresh ones.
    context = multiprocessing.get_context("spawn")
    pool = concurrent.futures.ProcessPoolExecutor(count, mp_context=context, initializer=_one_thread)
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _one_thread() -> None:
    """The processes themselves keep every processor busy."""
    import torch

    torch.set_num_threads(1)
