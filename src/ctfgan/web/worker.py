"""One thread that makes images, and a short line in front of it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from ctfgan.web.refusals import Refusal

T = TypeVar("T")

RETRY_SECONDS = 3
NOBODY_LISTENS = 499  # nginx's number for a client that went away; no one reads it


class Worker:
    """Does one piece of work after the other.

    Args:
        room: pieces that may wait or be under way; further ones are refused.
    """

    def __init__(self, room: int) -> None:
        self._room = room
        self._count = 0
        self._lock = threading.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="images")

    @property
    def waiting(self) -> int:
        """Pieces that wait or are under way."""
        return self._count

    async def do(self, work: Callable[[], T], left: Callable[[], Awaitable[object]]) -> T:
        """The result of some work.

        Args:
            work: a piece of it, which must not touch the event loop.
            left: returns when the one who asked is gone; work that has not begun is then left out.

        Raises:
            Refusal: the line is full, there is too little memory for the work, or nobody waits for it any more.
        """
        future = self._submit(work)
        result = asyncio.wrap_future(future)
        leaving: asyncio.Future[object] = asyncio.ensure_future(left())
        try:
            futures: set[asyncio.Future[Any]] = {result, leaving}
            await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
            if not result.done():
                raise Refusal(NOBODY_LISTENS, "whoever asked is gone")
            return result.result()
        except MemoryError as error:
            raise Refusal(
                503, "there is not enough memory for this now; ask for fewer images", RETRY_SECONDS
            ) from error
        finally:
            leaving.cancel()
            future.cancel()
            # Of work that goes on although nobody waits, an error is nobody's.
            result.add_done_callback(lambda done: done.cancelled() or done.exception())

    def close(self) -> None:
        """Leave out what has not begun and wait for what has."""
        self._thread.shutdown(cancel_futures=True)

    def _submit(self, work: Callable[[], T]) -> Future[T]:
        with self._lock:
            if self._count >= self._room:
                raise Refusal(503, f"{self._count} requests are in line already; try again soon", RETRY_SECONDS)
            self._count += 1
        future = self._thread.submit(work)
        future.add_done_callback(self._leave)
        return future

    def _leave(self, future: Future[T]) -> None:
        with self._lock:
            self._count -= 1
