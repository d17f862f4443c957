"""One thread that makes images, and a short line in front of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from ctfgan.core.text import plural
from ctfgan.web.messages import Refusal

T = TypeVar("T")

RETRY = {"Retry-After": "3"}  # seconds
CLIENT_LEFT = 499  # nginx's number for a client that went away; no one reads it


class Worker:
    """Does one piece of work after the other. Its methods are called from the event loop.

    Args:
        room: pieces that may wait or be under way; further ones are refused.
    """

    def __init__(self, room: int) -> None:
        self.waiting = 0
        """Pieces that wait or are under way."""
        self._room = room
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="images")

    async def do(self, work: Callable[[], T], disconnected: Callable[[], Awaitable[object]]) -> T:
        """The result of some work.

        Args:
            work: a piece of it, which must not touch the event loop.
            disconnected: returns when the client is gone; work that has not begun is then left out.

        Raises:
            Refusal: the line is full, there is too little memory for the work, or the client is gone.
        """
        if self.waiting >= self._room:
            line = plural(self.waiting, "request is", "requests are")
            raise Refusal(503, f"{line} in line already; try again soon", RETRY)
        self.waiting += 1
        future = self._thread.submit(work)
        result = asyncio.wrap_future(future)
        result.add_done_callback(self._on_done)
        leaving: asyncio.Future[object] = asyncio.ensure_future(disconnected())
        try:
            futures: set[asyncio.Future[Any]] = {result, leaving}
            await asyncio.wait(futures, return_when=asyncio.FIRST_COMPLETED)
            if not result.done():
                raise Refusal(CLIENT_LEFT, "the client is gone")
            return result.result()
        except MemoryError as error:
            raise Refusal(503, "there is not enough memory for this now; ask for fewer images", RETRY) from error
        finally:
            leaving.cancel()
            future.cancel()

    def _on_done(self, result: asyncio.Future[Any]) -> None:
        self.waiting -= 1
        if not result.cancelled():
            result.exception()  # of work that goes on although the client is gone, an error is nobody's

    def close(self) -> None:
        """Leave out what has not begun and wait for what has."""
        self._thread.shutdown(cancel_futures=True)
