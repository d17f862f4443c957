"""Work on many images by several threads, with results in order."""

from __future__ import annotations

import threading
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

S = TypeVar("S")
T = TypeVar("T")

TOGETHER = 16
"""Images that a thread takes at once; handing them over one by one costs as much as decoding a small one."""
AHEAD = 2
"""Such parts for each thread that are begun before their results are taken."""


def in_order(work: Callable[[S], T], items: Iterable[S], workers: int) -> Generator[T]:
    """What ``work`` makes of each item, in their order; a bounded number of items is taken ahead.

    Decoders work outside Python's lock, so that threads are as fast as processes, and share what is in memory. Closed
    early, it waits for the items that are being worked on, and begins no more.

    Args:
        work: called in one of the threads; what it raises is raised here.
        items: taken in the thread that asks for results.
        workers: threads; with one of them, the work is done here.
    """
    if workers == 1:
        yield from map(work, items)
        return
    has_ended = threading.Event()

    def part(some: tuple[S, ...]) -> list[T]:
        return [work(item) for item in some if not has_ended.is_set()]

    left = iter(items)
    pending: deque[Future[list[T]]] = deque()
    # Readers silence warnings of damaged files, each for itself; threads that do so undo each other's work.
    with warnings.catch_warnings(action="ignore"), ThreadPoolExecutor(workers, "images") as pool:
        try:
            while some := tuple(islice(left, TOGETHER)):
                pending.append(pool.submit(part, some))
                if len(pending) >= AHEAD * workers:
                    yield from pending.popleft().result()
            while pending:
                yield from pending.popleft().result()
        finally:
            has_ended.set()
            pool.shutdown(cancel_futures=True)
