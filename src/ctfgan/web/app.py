"""The application: page, files, endpoints, and how mistakes are told."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from importlib.metadata import version
from importlib.resources import files
from importlib.resources.abc import Traversable

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp

from ctfgan.core.errors import CtfganError
from ctfgan.data.sources.encoded import SUFFIXES
from ctfgan.sampling import Model
from ctfgan.web.api import api
from ctfgan.web.api_page import described
from ctfgan.web.guard import Guard
from ctfgan.web.limits import Limits
from ctfgan.web.messages import sentence
from ctfgan.web.refusals import Refusal, refused
from ctfgan.web.studio import Studio
from ctfgan.web.worker import Worker

MEDIA_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
WRONG_PLACES = {404: "there is nothing at this address; the page is at /, the endpoints are described at /docs",
                405: "this address takes no such request; the endpoints are described at /docs"}  # fmt: skip


def create_app(
    model: Model, limits: Limits, hosts: Collection[str], on_start: Callable[[], None] = lambda: None
) -> ASGIApp:
    """Everything between a socket and a model.

    Args:
        model: the generator.
        limits: of what a visitor may ask.
        hosts: names that the server goes by; see :func:`~ctfgan.web.guard.is_known_host`.
        on_start: called when requests are about to be taken.
    """
    studio, worker = Studio(model, limits), Worker(limits.waiting)

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
    app.include_router(api(studio, worker, limits))
    _add_pages(app, studio)
    _add_mistakes(app)
    return Guard(app, hosts, limits)


def _add_pages(app: FastAPI, studio: Studio) -> None:
    templates = Environment(
        loader=PackageLoader("ctfgan.web"), autoescape=select_autoescape(), undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    page = templates.get_template("page.html").render(
        about=studio.about(), has_classes=studio.is_conditional, suffixes=",".join(sorted(SUFFIXES))
    )
    # Read once: no request ever becomes a path.
    static = {file.name: file for file in files("ctfgan.web").joinpath("static").iterdir()}
    contents = {name: (file.read_bytes(), _media_type(file)) for name, file in static.items()}

    @app.get("/", include_in_schema=False)
    async def index() -> Response:
        return Response(page, media_type="text/html")

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> Response:
        example = json.dumps({"classes": studio.search.names[:1], "n": 4, "seed": 0})
        text = templates.get_template("docs.html").render(
            document=described(app.openapi()), origin=f"http://{request.url.netloc}", example=example
        )
        return Response(text, media_type="text/html")

    @app.get("/static/{name}", include_in_schema=False)
    async def file(name: str) -> Response:
        if name not in contents:
            raise HTTPException(404)
        content, media_type = contents[name]
        return Response(content, media_type=media_type)


def _add_mistakes(app: FastAPI) -> None:
    @app.exception_handler(Refusal)
    async def on_refusal(request: Request, refusal: Refusal) -> Response:
        return refusal.response()

    @app.exception_handler(RequestValidationError)
    async def on_invalid(request: Request, error: RequestValidationError) -> Response:
        mistakes = error.errors()
        if any(mistake["type"] == "json_invalid" for mistake in mistakes):
            return refused(400, "the body is no JSON; send an object as described at /docs")
        return refused(422, sentence(mistakes))

    @app.exception_handler(HTTPException)
    async def on_wrong_place(request: Request, error: HTTPException) -> Response:
        return refused(error.status_code, WRONG_PLACES.get(error.status_code, f"{error.detail}; see /docs"))

    @app.exception_handler(CtfganError)
    async def on_mistake(request: Request, error: CtfganError) -> Response:
        return refused(422, str(error))

    @app.exception_handler(Exception)
    async def on_failure(request: Request, error: Exception) -> Response:
        return refused(500, "the server failed at this; its terminal says why")


def _media_type(file: Traversable) -> str:
    return MEDIA_TYPES[f".{file.name.rpartition('.')[2]}"]
