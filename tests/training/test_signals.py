from __future__ import annotations

import os
import signal

import pytest

from densefield.training import Interrupted, StopSignals


def send(*numbers: int) -> None:
    for number in numbers:
        os.kill(os.getpid(), number)


def send_last(*numbers: int) -> None:
    send(*numbers)
    pytest.fail("went on")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_outside_of_a_loop_a_signal_ends_the_run_at_once(number: int) -> None:
    before = signal.getsignal(number)
    with pytest.raises(Interrupted) as stop, StopSignals():
        send_last(number)
    assert (stop.value.status, stop.value.saved) == (128 + number, True)
    assert signal.getsignal(number) is before


def test_within_a_loop_it_waits_for_the_loop() -> None:
    seen: list[int | None] = []

    def loop(signals: StopSignals) -> None:
        send(signal.SIGTERM, signal.SIGTERM)  # an impatient scheduler
        seen.append(signals.number)

    with pytest.raises(Interrupted) as stop, StopSignals() as signals, signals.deferred():
        loop(signals)
    assert seen == [signal.SIGTERM]
    assert (str(stop.value), stop.value.status, stop.value.saved) == ("SIGTERM", 143, True)


def test_a_second_ctrl_c_does_not_wait() -> None:
    with pytest.raises(Interrupted) as stop, StopSignals() as signals, signals.deferred():
        send_last(signal.SIGINT, signal.SIGINT)
    assert not stop.value.saved


def test_a_handler_put_around_it_is_replaced() -> None:
    with StopSignals() as signals:
        signal.signal(signal.SIGTERM, lambda *_: None)
        signals.retake()
        with pytest.raises(Interrupted):
            send(signal.SIGTERM)
