"""The application around a model, its page and its files, and a socket and a server around the application."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from importlib.metadata import version
from importlib.resources import files
from ipaddress import ip_address
from pathlib import PurePath

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from ctfgan.core.errors import ConfigError, CtfganError
from ctfgan.data.sources.encoded import SUFFIXES
from ctfgan.sampling.model import Model
from ctfgan.web.api import api
from ctfgan.web.guard import Guard
from ctfgan.web.image_service import ImageService
from ctfgan.web.messages import Limits, Refusal, json_response, mistakes_in_words
from ctfgan.web.worker import Worker

MEDIA_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
WRONG_ADDRESS = {
    404: "there is nothing at this address; the page is at /, /openapi.json describes the endpoints",
    405: "this address takes no such request; /openapi.json describes the endpoints",
}
SHUTDOWN_SECONDS = 5  # that answers under way have when the server is told to end


def create_app(
    model: Model, limits: Limits, hosts: Collection[str] = ("localhost",), on_start: Callable[[], None] = lambda: None
) -> ASGIApp:
    """Everything between a socket and a model.

    Args:
        model: the generator.
        limits: of what a visitor may ask.
        hosts: names that the server goes by; see :func:`~ctfgan.web.guard.is_known_host`.
        on_start: called when requests are about to be taken.
    """
    service, worker = ImageService(model, limits), Worker(limits.waiting)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        on_start()
        yield
        worker.close()

    app = FastAPI(
        title="ctfgan",
        version=version("ctfgan"),
        summary=f"{model.bundle.recipe.name}: images as JSON, PNG or zip",
        docs_url=None,  # FastAPI's own pages load scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
        redirect_slashes=False,
    )
    app.include_router(api(service, worker, limits))
    _add_page(app, service)
    _add_error_answers(app)
    return Guard(app, hosts, limits)


def _add_page(app: FastAPI, service: ImageService) -> None:
    templates = Environment(
        loader=PackageLoader("ctfgan.web"), autoescape=select_autoescape(), undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    page = templates.get_template("page.html").render(
        about=service.about(), has_classes=service.is_conditional, suffixes=",".join(sorted(SUFFIXES))
    )
    # Read once: no request ever becomes a path.
    static = {file.name: file.read_bytes() for file in files("ctfgan.web").joinpath("static").iterdir()}

    @app.get("/", include_in_schema=False)
    async def index() -> Response:
        return Response(page, media_type="text/html")

    @app.get("/static/{name}", include_in_schema=False)
    async def file(name: str) -> Response:
        if name not in static:
            raise HTTPException(404)
        return Response(static[name], media_type=MEDIA_TYPES[PurePath(name).suffix])


def _add_error_answers(app: FastAPI) -> None:
    """Whatever goes wrong is answered by ``{"error": "one sentence"}``."""

    @app.exception_handler(HTTPException)
    async def on_http_error(request: Request, error: HTTPException) -> Response:
        sentence = error.detail
        if not isinstance(error, Refusal):
            sentence = WRONG_ADDRESS.get(error.status_code, f"{error.detail}; see /openapi.json")
        return json_response({"error": sentence}, error.status_code, error.headers)

    @app.exception_handler(RequestValidationError)
    async def on_invalid(request: Request, error: RequestValidationError) -> Response:
        mistakes = error.errors()
        if any(mistake["type"] == "json_invalid" for mistake in mistakes):
            return json_response({"error": "the body is no JSON; send an object as /openapi.json describes it"}, 400)
        return json_response({"error": mistakes_in_words(mistakes)}, 422)

    @app.exception_handler(CtfganError)
    async def on_mistake(request: Request, error: CtfganError) -> Response:
        return json_response({"error": str(error)}, 422)

    @app.exception_handler(Exception)
    async def on_failure(request: Request, error: Exception) -> Response:
        return json_response({"error": "the server failed at this; its terminal says why"}, 500)


def open_socket(host: str, port: int) -> socket.socket:
    """A socket bound to an address, which nobody is answered on yet.

    Raises:
        ConfigError: the address is taken, not allowed or not one of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"--host {host} is no address of this machine ({error}); use 127.0.0.1") from error
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise ConfigError(
            f"port {port} of {host} cannot be used ({error.strerror}); choose another --port, or 0 for a free one"
        ) from error
    return bound


def url_of(bound: socket.socket) -> str:
    """What a browser on this machine opens."""
    host, port = bound.getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def is_loopback(bound: socket.socket) -> bool:
    """Whether only this machine reaches it."""
    return ip_address(bound.getsockname()[0]).is_loopback


def serve(model: Model, limits: Limits, host: str, bound: socket.socket, on_start: Callable[[], None]) -> None:
    """Answer until a signal ends it: Ctrl-C becomes KeyboardInterrupt, as everywhere.

    Args:
        model: what is served.
        limits: of what a visitor may ask.
        host: as the user named it.
        bound: from :func:`open_socket`; closed at the end.
        on_start: called when requests are about to be taken.
    """

    def start() -> None:
        bound.listen()  # whoever comes from now on waits a moment, and is not turned away
        on_start()

    own = socket.gethostname().lower()
    app = create_app(model, limits, {"localhost", host.lower(), own, f"{own}.local"}, start)
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,  # what a visitor claims about itself counts for nothing
        ws="none",
        timeout_keep_alive=10,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        h11_max_incomplete_event_size=16_384,
    )
    uvicorn.Server(config).run(sockets=[bound])
