"""What every request passes before the application sees it, and every answer after."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from contextlib import suppress
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ctfgan.core.text import format_bytes
from ctfgan.web.messages import Limits, Refusal, json_response

UPLOADS = ("/api/enhance",)
DRAIN_SECONDS = 2.0  # in which a body that is too large is read and thrown away, so that its sender hears why
CLOSE = {"Connection": "close"}  # the rest of the body is not waited for

SECURITY_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Guard:
    """Checks host, origin and type of each request and bounds its body.

    Args:
        app: what answers.
        hosts: names that this server goes by; see :func:`is_known_host`.
        limits: of size and time.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str], limits: Limits) -> None:
        self._app = app
        self._hosts = hosts
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, as ASGI has it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(SECURITY_HEADERS)
            await send(message)

        try:
            self._check(scope, Headers(scope=scope))
        except Refusal as refusal:
            response = json_response({"error": refusal.detail}, refusal.status_code, CLOSE)
            await response(scope, receive, send_with_headers)
            return
        max_bytes = self._limits.upload_bytes if scope["path"] in UPLOADS else self._limits.json_bytes
        await self._app(scope, bounded(receive, max_bytes, self._limits.upload_seconds), send_with_headers)

    def _check(self, scope: Scope, headers: Headers) -> None:
        if not is_known_host(headers.get("host", ""), self._hosts):
            raise Refusal(400, "the address names another host than this server; open the address that it printed")
        is_api = scope["path"].startswith("/api/")
        if (is_api or scope["method"] not in ("GET", "HEAD")) and _is_foreign(headers):
            raise Refusal(403, "the request comes from another web page; use the page of this server")
        media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
        is_json = media_type == "application/json" or scope["path"] in UPLOADS
        if is_api and scope["method"] == "POST" and not is_json:
            raise Refusal(415, "the body is not said to be JSON; send it with Content-Type: application/json")


def is_known_host(header: str, names: Collection[str]) -> bool:
    """Whether a Host header names this server: by one of its names, or by a plain address.

    Another web site may have its name point to this machine, and its pages would then read our answers as their own
    (DNS rebinding). It cannot choose our names, and a plain address points nowhere else. Starlette's
    ``TrustedHostMiddleware`` knows no "any address", which ``--host 0.0.0.0`` in a container needs, and does not say
    what to do.
    """
    try:
        host = (urlsplit(f"//{header}").hostname or "").rstrip(".")
        return host in names or bool(ip_address(host))
    except ValueError:
        return False


def _is_foreign(headers: Headers) -> bool:
    """Whether a browser says that a page of another site sent this; programs say nothing."""
    origin = headers.get("origin")
    if origin is not None and origin.partition("://")[2] != headers.get("host"):
        return True
    return headers.get("sec-fetch-site", "none") not in ("same-origin", "none")


def bounded(receive: Receive, max_bytes: int, seconds: float) -> Receive:
    """What arrives of a request, as long as its body has few enough bytes and comes soon enough.

    Returns:
        A function that raises :class:`Refusal` where the body is too large, too slow or cut off.
    """
    size, is_whole = 0, False
    deadline = asyncio.get_running_loop().time() + seconds

    async def receive_bounded() -> Message:
        nonlocal size, is_whole
        if is_whole:
            return await receive()
        try:
            async with asyncio.timeout_at(deadline):
                message = await receive()
        except TimeoutError as error:
            raise Refusal(408, f"the request took longer than {seconds:g} s to arrive", CLOSE) from error
        if message["type"] == "http.disconnect":
            raise Refusal(400, "the request ended before it was complete")
        size += len(message.get("body", b""))
        is_whole = not message.get("more_body", False)
        if size > max_bytes:
            if not is_whole:
                await _drain(receive)
            raise Refusal(413, f"the request is larger than {format_bytes(max_bytes)}; send a smaller one", CLOSE)
        return message

    return receive_bounded


async def _drain(receive: Receive) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(DRAIN_SECONDS):
            while (await receive()).get("more_body", False):
                pass
