"""The JSON twin of the page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from ctfgan.web.class_search import MAX_LIMIT, MAX_OFFSET
from ctfgan.web.limits import Limits
from ctfgan.web.messages import (
    ClassesAnswer,
    ErrorAnswer,
    Form,
    ImagesAnswer,
    ModelAnswer,
    QueueAnswer,
    SampleRequest,
    SlideRequest,
)
from ctfgan.web.refusals import Refusal, as_json
from ctfgan.web.results import Result
from ctfgan.web.studio import Studio
from ctfgan.web.uploads import FORM_SCHEMA, read_form
from ctfgan.web.worker import Worker

As = Annotated[
    Form,
    Query(alias="as", description="`json` with PNGs in base64, one `sheet` as PNG, or a `zip` with a manifest"),
]
Part = Annotated[str, Query(max_length=200, description="Part of a name; case does not count.")]

REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorAnswer, "description": text}
    for status, text in {
        400: "not understood",
        403: "sent by the page of another web site",
        404: "no such class",
        413: "too many bytes or pixels",
        415: "not a form that is taken",
        422: "understood, and not possible; the sentence says why",
        429: "asked too often; `Retry-After` says when to go on",
        503: "busy; `Retry-After` says when to go on",
    }.items()
}
IMAGES: dict[int | str, dict[str, Any]] = {
    200: {
        "model": ImagesAnswer,
        "description": "The images.",
        "content": {"image/png": {}, "application/zip": {}},
    },
    **REFUSALS,
}


def api(studio: Studio, worker: Worker, limits: Limits) -> APIRouter:
    """All endpoints below ``/api``.

    Args:
        studio: what makes images.
        worker: the thread in which it does.
        limits: of what is sent.
    """
    router = APIRouter(prefix="/api", responses=REFUSALS)

    async def made(request: Request, work: Callable[[], Result], form: Form) -> Response:
        return await worker.do(lambda: work().response(form), lambda: _left(request))

    @router.get("/model", response_model=ModelAnswer, summary="What the model is and what it can do")
    async def model() -> Response:
        return as_json(studio.about().model_dump())

    @router.get("/classes", response_model=ClassesAnswer, summary="Find classes by part of their name")
    async def classes(
        search: Part = "",
        limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 50,
        offset: Annotated[int, Query(ge=0, le=1_000_000_000)] = 0,
    ) -> Response:
        if search.strip() and offset > MAX_OFFSET:
            raise Refusal(422, f"offset is {offset}; of a search at most {MAX_OFFSET:,}, add a letter instead")
        found, more = studio.search.find(search, limit, offset)
        return as_json({"classes": found, "more": more})

    @router.get("/queue", response_model=QueueAnswer, summary="How busy the server is")
    async def queue() -> Response:
        return as_json({"waiting": worker.waiting, "room": limits.waiting})

    @router.post("/sample", response_class=Response, responses=IMAGES, summary="Images of chosen classes")
    async def sample(request: Request, asked: SampleRequest, form: As = "json") -> Response:
        studio.check_sample(asked)
        return await made(request, lambda: studio.sample(asked), form)

    @router.post("/slide", response_class=Response, responses=IMAGES, summary="The way between two images")
    async def slide(request: Request, asked: SlideRequest, form: As = "json") -> Response:
        """Between two noises, two classes or both: noise goes along an arc, all else straight."""
        studio.check_slide(asked)
        return await made(request, lambda: studio.slide(asked), form)

    if studio.enhances:
        body = {"required": True, "content": {"multipart/form-data": {"schema": FORM_SCHEMA}}}

        @router.post(
            "/enhance",
            response_class=Response,
            responses=IMAGES,
            summary="An own low-quality image, enhanced and varied",
            openapi_extra={"requestBody": body},
        )
        async def enhance(request: Request, form: As = "json") -> Response:
            """First the image as the model takes it, then its high-quality version by G_LH, then variations by G_A."""
            asked, content = await read_form(request, limits.upload_bytes)
            studio.check_enhance(asked)
            return await made(request, lambda: studio.enhance(asked, content), form)

    return router


async def _left(request: Request) -> None:
    """Wait until whoever asked is gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
