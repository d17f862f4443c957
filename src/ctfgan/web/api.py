"""The JSON twin of the page."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from ctfgan.web.class_search import MAX_LIMIT, MAX_OFFSET
from ctfgan.web.image_service import ImageResult, ImageService
from ctfgan.web.messages import (
    AnswerFormat,
    ClassesAnswer,
    EnhanceRequest,
    ErrorAnswer,
    ImagesAnswer,
    Limits,
    ModelAnswer,
    QueueAnswer,
    Refusal,
    SampleRequest,
    SlideRequest,
    json_response,
    mistakes_in_words,
)
from ctfgan.web.worker import Worker

FormatQuery = Annotated[
    AnswerFormat,
    Query(alias="as", description="`json` with PNGs in base64, one `sheet` as PNG, or a `zip` with a manifest"),
]
SearchQuery = Annotated[str, Query(max_length=200, description="Part of a name; case does not count.")]

REFUSALS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorAnswer, "description": text}
    for status, text in {
        400: "not understood",
        403: "sent by the page of another web site",
        404: "no such class",
        413: "too many bytes or pixels",
        415: "not a form that is taken",
        422: "understood, and not possible; the sentence says why",
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

FILE_FIELD = "image"
MAX_FIELDS = 8
MAX_FIELD_BYTES = 4_096
FORM_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": [FILE_FIELD, "class"],
    "properties": {
        FILE_FIELD: {"type": "string", "format": "binary", "description": "The image file."},
        **EnhanceRequest.model_json_schema()["properties"],
    },
}


def api(service: ImageService, worker: Worker, limits: Limits) -> APIRouter:
    """All endpoints below ``/api``.

    Args:
        service: what makes images.
        worker: the thread in which it does.
        limits: of what is sent.
    """
    router = APIRouter(prefix="/api", responses=REFUSALS)

    async def images(request: Request, work: Callable[[], ImageResult], form: AnswerFormat) -> Response:
        return await worker.do(lambda: work().response(form), lambda: _disconnected(request))

    @router.get("/model", response_model=ModelAnswer, summary="What the model is and what it can do")
    async def model() -> Response:
        return json_response(service.about().model_dump())

    @router.get("/classes", response_model=ClassesAnswer, summary="Find classes by part of their name")
    def classes(  # no coroutine: a search of a million names runs in a thread, and nobody else waits for it
        search: SearchQuery = "",
        limit: Annotated[int, Query(ge=1, le=MAX_LIMIT)] = 50,
        offset: Annotated[int, Query(ge=0, le=1_000_000_000)] = 0,
    ) -> Response:
        if search.strip() and offset > MAX_OFFSET:
            raise Refusal(422, f"offset is {offset}; of a search at most {MAX_OFFSET:,}, add a letter instead")
        names, more = service.search.find(search, limit, offset)
        return json_response({"classes": names, "more": more})

    @router.get("/queue", response_model=QueueAnswer, summary="How busy the server is")
    async def queue() -> Response:
        return json_response({"waiting": worker.waiting, "room": limits.waiting})

    @router.post("/sample", response_class=Response, responses=IMAGES, summary="Images of chosen classes")
    async def sample(request: Request, body: SampleRequest, form: FormatQuery = "json") -> Response:
        service.check_sample(body)
        return await images(request, lambda: service.sample(body), form)

    @router.post("/slide", response_class=Response, responses=IMAGES, summary="The way between two images")
    async def slide(request: Request, body: SlideRequest, form: FormatQuery = "json") -> Response:
        """Between two noises, two classes or both: noise goes along an arc, all else straight."""
        service.check_slide(body)
        return await images(request, lambda: service.slide(body), form)

    if service.enhances:
        form_body = {"required": True, "content": {"multipart/form-data": {"schema": FORM_SCHEMA}}}

        @router.post(
            "/enhance",
            response_class=Response,
            responses=IMAGES,
            summary="An own low-quality image, enhanced and varied",
            openapi_extra={"requestBody": form_body},
        )
        async def enhance(request: Request, form: FormatQuery = "json") -> Response:
            """First the image as the model takes it, then its high-quality version by G_LH, then variations by G_A."""
            fields, content = await _read_form(request, limits.upload_bytes)
            service.check_enhance(fields)
            return await images(request, lambda: service.enhance(fields, content), form)

    return router


async def _disconnected(request: Request) -> None:
    """Wait until the client is gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _read_form(request: Request, max_bytes: int) -> tuple[EnhanceRequest, bytes]:
    """The fields of a form and the content of its image, whose size the guard has bounded by ``max_bytes``."""
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise Refusal(415, "the body is no form with an image; send multipart/form-data")
    form = await _parse_form(request, max_bytes)
    try:
        image = form.get(FILE_FIELD)
        if not isinstance(image, UploadFile):
            raise Refusal(422, f"{FILE_FIELD} is missing; send an image file under that name")
        fields = {name: value for name, value in form.items() if name != FILE_FIELD}
        return EnhanceRequest.model_validate(fields), await image.read()
    except ValidationError as error:
        raise Refusal(422, mistakes_in_words(error.errors())) from error
    finally:
        await form.close()


async def _parse_form(request: Request, max_bytes: int) -> FormData:
    try:
        parser = MultiPartParser(
            request.headers, request.stream(), max_files=1, max_fields=MAX_FIELDS, max_part_size=MAX_FIELD_BYTES
        )
        # FastAPI's own way of taking files writes large ones to a temporary file; what is sent here stays in memory.
        parser.spool_max_size = max_bytes + 1
        return await parser.parse()
    except (MultiPartException, KeyError, ValueError) as error:
        reason = error.message if isinstance(error, MultiPartException) else "it has no boundary"
        raise Refusal(400, f"the form cannot be read ({reason}); send multipart/form-data") from error
