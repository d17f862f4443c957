"""How the server says no."""

from __future__ import annotations

import json
from typing import Any

from fastapi import Response


class Refusal(Exception):
    """A request that is not done; the message is one sentence with the way out.

    Attributes:
        status: of HTTP.
        retry_after: seconds after which the same request may do; None if it never will.
    """

    def __init__(self, status: int, message: str, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.retry_after = retry_after

    def response(self) -> Response:
        """``{"error": "..."}``."""
        return refused(self.status, str(self), self.retry_after)


def refused(status: int, message: str, retry_after: int | None = None) -> Response:
    """The answer ``{"error": message}``."""
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return as_json({"error": message}, status, headers)


def as_json(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON answer in ASCII: class names may hold what is no valid text in UTF-8."""
    return Response(json.dumps(content), status, headers, media_type="application/json")
