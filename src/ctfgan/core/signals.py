"""The signals that end a command: of a person (Ctrl-C), of the system, of a terminal that is closed."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

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
