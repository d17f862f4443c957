"""Signals that end a command: which ones, and how often they must come."""

from __future__ import annotations

import os
import signal

import pytest

from ctfgan.cli.main import _unwind
from ctfgan.core.errors import Interrupted, Terminated
from ctfgan.core.signals import StopRequest, handling, stop_on_signals
from ctfgan.runs.new_run import interrupted

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no SIGHUP")


def send(*numbers: int) -> None:
    for number in numbers:
        os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT])
def test_training_is_asked_to_stop_by_a_closed_terminal_too(number: int) -> None:
    before = signal.getsignal(number)
    with stop_on_signals() as request:
        send(number)
        assert request.signal_number == number
    assert signal.getsignal(number) == before


def test_a_terminal_that_closes_sends_its_signal_more_than_once() -> None:
    with stop_on_signals() as request:
        send(signal.SIGHUP, signal.SIGHUP, signal.SIGTERM, signal.SIGHUP)
        assert request.signal_number == signal.SIGHUP
        with pytest.raises(Terminated):
            send(signal.SIGTERM)


def test_a_second_press_of_ctrl_c_interrupts_at_once() -> None:
    with stop_on_signals() as request:
        send(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            send(signal.SIGINT)
    assert request.signal_number == signal.SIGINT


def test_of_several_processes_none_is_impatient() -> None:
    request = StopRequest(patient=True)
    for _ in range(3):
        request.handle(signal.SIGTERM, None)
    assert request.signal_number == signal.SIGTERM


def test_under_nohup_a_closed_terminal_is_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with handling(_unwind, interrupts=False), stop_on_signals() as request:
            send(signal.SIGHUP)
            assert request.signal_number is None
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
def test_where_nobody_trains_a_signal_unwinds_and_its_number_is_the_exit_code(number: int) -> None:
    tidied = []

    @interrupted("what to do")
    def work() -> None:
        try:
            send(number)
        finally:
            if number == signal.SIGHUP:
                send(number)  # does not disturb the tidying up
            tidied.append(number)

    with handling(_unwind, interrupts=False), pytest.raises(Interrupted, match="what to do") as ended:
        work()
    assert tidied == [number]
    assert ended.value.exit_code == 128 + number
