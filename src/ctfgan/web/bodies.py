"""Reading what is sent, with a bound on size, time and memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from starlette.datastructures import Headers
from starlette.types import Receive

from ctfgan.web.limits import MIB, Limits
from ctfgan.web.refusals import Refusal

DRAINED_SECONDS = 2.0  # in which a body that is too large is read and thrown away, so that its sender hears why
RETRY_SECONDS = 3
MAX_DIGITS = 19  # of a length that is believed


class Bodies:
    """All bodies that are held at the moment.

    Args:
        limits: of their bytes, one by one and together, and of the seconds that one may take.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._held = 0

    @asynccontextmanager
    async def read(self, headers: Headers, receive: Receive, limit: int) -> AsyncIterator[bytes]:
        """The body of a request, which counts as held until the request is done.

        Raises:
            Refusal: it is too large, too slow or cut off, or too many are held already.
        """
        announced = _announced(headers)
        if announced > limit:
            await _drain(receive)
            raise _too_large(limit)
        reserved = limit if announced < 0 else announced
        if self._held + reserved > max(limit, self._limits.held_bytes):
            await _drain(receive)
            raise Refusal(503, "too many images are being sent at the moment; try again soon", RETRY_SECONDS)
        self._held += reserved
        try:
            yield await self._whole(receive, limit)
        finally:
            self._held -= reserved

    async def _whole(self, receive: Receive, limit: int) -> bytes:
        body = bytearray()
        try:
            async with asyncio.timeout(self._limits.upload_seconds):
                async for part in _parts(receive):
                    body += part
                    if len(body) > limit:
                        break
        except TimeoutError as error:
            raise Refusal(408, f"the request took longer than {self._limits.upload_seconds:g} s to arrive") from error
        if len(body) > limit:
            del body
            await _drain(receive)
            raise _too_large(limit)
        return bytes(body)


def _announced(headers: Headers) -> int:
    """Bytes that a request says it has; -1 if it comes in pieces."""
    if "transfer-encoding" in headers:
        return -1
    length = headers.get("content-length", "0")
    return int(length) if length.isdecimal() and len(length) < MAX_DIGITS else -1


def _too_large(limit: int) -> Refusal:
    size = f"{limit / MIB:g} MiB" if limit >= MIB else f"{limit:,} bytes"
    return Refusal(413, f"the request is larger than {size}; send a smaller one")


async def _parts(receive: Receive) -> AsyncIterator[bytes]:
    """What arrives of a body, piece by piece."""
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refusal(400, "the request ended before it was complete")
        more = message.get("more_body", False)
        yield message.get("body", b"")


async def _drain(receive: Receive) -> None:
    with suppress(TimeoutError, Refusal):
        async with asyncio.timeout(DRAINED_SECONDS):
            async for _ in _parts(receive):
                pass
