"""Forms with an image: they stay in memory, whatever their size; nothing that is sent is ever written to a disk."""

from __future__ import annotations

from typing import Any

from fastapi import Request
from pydantic import ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from ctfgan.web.messages import EnhanceRequest, sentence
from ctfgan.web.refusals import Refusal

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
"""For the OpenAPI page; FastAPI's own way of taking files would put large ones on the disk."""


async def read_form(request: Request, max_bytes: int) -> tuple[EnhanceRequest, bytes]:
    """The fields of a form and the content of its image.

    Args:
        request: whose body is bounded already.
        max_bytes: that bound.

    Raises:
        Refusal: no such form, no image in it, or wrong fields.
    """
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        raise Refusal(415, "the body is no form with an image; send multipart/form-data")
    form = await _parsed(request, max_bytes)
    try:
        image = form.get(FILE_FIELD)
        if not isinstance(image, UploadFile):
            raise Refusal(422, f"{FILE_FIELD} is missing; send an image file under that name")
        fields = {name: value for name, value in form.items() if name != FILE_FIELD}
        return EnhanceRequest.model_validate(fields), await image.read()
    except ValidationError as error:
        raise Refusal(422, sentence(error.errors())) from error
    finally:
        await form.close()


async def _parsed(request: Request, max_bytes: int) -> FormData:
    try:
        parser = MultiPartParser(
            request.headers, request.stream(), max_files=1, max_fields=MAX_FIELDS, max_part_size=MAX_FIELD_BYTES
        )
        parser.spool_max_size = max_bytes + 1
        return await parser.parse()
    except (MultiPartException, KeyError, ValueError) as error:
        reason = error.message if isinstance(error, MultiPartException) else "it has no boundary"
        raise Refusal(400, f"the form cannot be read ({reason}); send multipart/form-data") from error
