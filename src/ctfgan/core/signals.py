"""The signals that end a command: of a person (Ctrl-C), of the system, of a terminal that is closed."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType

from ctfgan.core.errors import Terminated

HANGUP: int | None = getattr(signal, "SIGHUP", None)
"""A terminal was closed, or the connection to it broke; None on Windows."""


@contextmanager
def handling(handler: Callable[[int, FrameType | None], None], *, interrupts: bool) -> Iterator[None]:
    """While the block lasts, SIGTERM and SIGHUP call ``handler``; not a SIGHUP that is ignored, as under ``nohup``.

    Outside the main thread, where Python takes no signal handlers, nothing changes.

    Args:
        handler: is given the number of the signal.
        interrupts: whether Ctrl-C calls it, too.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers: list[int] = [signal.SIGTERM, *([signal.SIGINT] if interrupts else [])]
    if HANGUP is not None and signal.getsignal(HANGUP) != signal.SIG_IGN:
        numbers.append(HANGUP)
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, earlier in before.items():
            # Python does not know a handler that it did not set.
            signal.signal(number, signal.SIG_DFL if earlier is None else earlier)


class Stopped(Exception):
    """Work that can be done again was left in its middle: a signal asked for an end."""


class StopRequest:
    """Whether SIGINT, SIGTERM or SIGHUP asked for an end.

    Args:
        patient: whether only the first signal counts. A launcher may send a second one right after the first, and ends
            a process that does not end by itself.

    Attributes:
        signal_number: the signal, or None.
    """

    def __init__(self, *, patient: bool = False) -> None:
        self.signal_number: int | None = None
        self._patient = patient
        self._is_pressed = False

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Remember the first signal; a second one interrupts at once."""
        if self.signal_number is None:
            self.signal_number = number
        if number == HANGUP:
            return  # a terminal that closes sends it two or three times, by its shell and by the system: no impatience
        if self._is_pressed and not self._patient:
            raise KeyboardInterrupt if number == signal.SIGINT else Terminated(number)
        self._is_pressed = True

    def leave(self, items: Iterable[int], total: int, what: str) -> Iterator[int]:
        """A :data:`~ctfgan.core.progress.Progress` that shows nothing, of work that may be left in its middle.

        Raises:
            Stopped: before an item, once there was a signal.
        """
        for item in items:
            if self.signal_number is not None:
                raise Stopped
            yield item


@contextmanager
def stop_on_signals(*, patient: bool = False) -> Iterator[StopRequest]:
    """Turn Ctrl-C, SIGTERM and SIGHUP into a request that the training loop reads between steps.

    Outside the main thread, where Python takes no signal handlers, the request never comes.

    Args:
        patient: as for :class:`StopRequest`.
    """
    request = StopRequest(patient=patient)
    with handling(request.handle, interrupts=True):
        yield request
