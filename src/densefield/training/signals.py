"""Ctrl-C and SIGTERM: a run stops where its state is whole, at any moment, and says so by its exit status."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Interrupted(BaseException):
    """The run was stopped by signal `number`; `status` is the process's exit status (130 or 143).

    `saved` says whether nothing is lost. Like KeyboardInterrupt it is no `Exception`: nobody may swallow it.
    """

    def __init__(self, number: int, *, saved: bool = False) -> None:
        super().__init__(signal.Signals(number).name)
        self.number, self.status, self.saved = number, 128 + number, saved


class StopSignals:
    """Takes SIGINT and SIGTERM for the time of a `with` block, in the main thread.

    They raise `Interrupted` at once, but within `deferred()` only leave their `number`, for whoever looks after the
    state to act on; a further Ctrl-C still raises at once. After `deferred()` what is left over is raised.
    """

    def __init__(self) -> None:
        self.number: int | None = None
        self._waits = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
            self.retake()
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def retake(self) -> None:
        """Be the handler again, whoever has wrapped or replaced it since."""
        for number in self._before:
            signal.signal(number, self._note)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """Let signals wait for the block's own looks at `number`."""
        self._waits = True
        try:
            yield
        finally:
            self._waits = False
        if self.number is not None:
            raise Interrupted(self.number, saved=True)

    def _note(self, number: int, frame: FrameType | None) -> None:
        again = self.number is not None
        self.number = self.number or number
        if not self._waits or (again and number == signal.SIGINT):
            raise Interrupted(self.number, saved=not self._waits)
