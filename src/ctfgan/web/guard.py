"""What every request passes before the application sees it, and every answer after."""

from __future__ import annotations

import math
from collections.abc import Collection
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ctfgan.web.bodies import Bodies
from ctfgan.web.buckets import Buckets
from ctfgan.web.limits import Limits
from ctfgan.web.refusals import Refusal

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
UPLOADS = ("/api/enhance",)
CHEAP = 0.1  # tokens of a request that makes no images

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
    """Checks host, origin, rate and size of each request, and reads its body, so that nothing behind it can be flooded.

    Args:
        app: what answers.
        hosts: names that this server goes by; see :func:`is_known_host`.
        limits: of rate, size and time.
    """

    def __init__(self, app: ASGIApp, hosts: Collection[str], limits: Limits) -> None:
        self._app = app
        self._hosts = hosts
        self._limits = limits
        self._buckets = Buckets(limits.requests_per_minute)
        self._bodies = Bodies(limits)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request, as ASGI has it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(SECURITY_HEADERS)
            await send(message)

        headers = Headers(scope=scope)
        try:
            self._check(scope, headers)
            limit = self._limits.upload_bytes if scope["path"] in UPLOADS else self._limits.json_bytes
            async with self._bodies.read(headers, receive, limit) as body:
                await self._app(scope, _replayed(body, receive), send_safely)
        except Refusal as refusal:
            response = refusal.response()
            response.headers["Connection"] = "close"  # a body that was not read would be taken for a request
            await response(scope, receive, send_safely)

    def _check(self, scope: Scope, headers: Headers) -> None:
        if not is_known_host(headers.get("host", ""), self._hosts):
            raise Refusal(400, "the address names another host than this server; open the address that it printed")
        is_read_only = scope["method"] in ("GET", "HEAD")
        is_api = scope["path"].startswith("/api/")
        if (is_api or not is_read_only) and _is_foreign(headers):
            raise Refusal(403, "the request comes from another web page; use the page of this server")
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        if is_api and scope["method"] == "POST" and scope["path"] not in UPLOADS and kind != "application/json":
            raise Refusal(415, "the body is not said to be JSON; send it with Content-Type: application/json")
        if is_api:
            address = scope["client"][0] if scope.get("client") else ""
            wait = self._buckets.take(address, CHEAP if is_read_only else 1.0)
            if wait:
                seconds = math.ceil(wait)
                raise Refusal(
                    429,
                    f"more than {self._limits.requests_per_minute} requests a minute; go on in {seconds} s",
                    seconds,
                )


def is_known_host(header: str, hosts: Collection[str]) -> bool:
    """Whether a Host header names this server.

    Another web site may have its name point to this machine, and its pages would then read our answers as their own
    (DNS rebinding). It cannot choose the name, so only known names pass; a plain address where ``hosts`` holds ``*``.
    """
    try:
        name = (urlsplit(f"//{header}").hostname or "").rstrip(".")
    except ValueError:
        return False
    return name in hosts or ("*" in hosts and _is_address(name))


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _is_foreign(headers: Headers) -> bool:
    """Whether a browser says that a page of another site sent this; programs say nothing."""
    origin = headers.get("origin")
    if origin is not None and origin.partition("://")[2] != headers.get("host"):
        return True
    return headers.get("sec-fetch-site", "none") not in ("same-origin", "none")


def _replayed(body: bytes, receive: Receive) -> Receive:
    waiting = [body]

    async def replay() -> Message:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(), "more_body": False}
        return await receive()

    return replay
