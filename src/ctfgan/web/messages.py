"""Requests, answers and refusals; the OpenAPI document is made of these."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import Response
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from ctfgan.core.settings import Seed, Settings

AnswerFormat = Literal["json", "sheet", "zip"]
ClassName = Annotated[str, Field(max_length=1_000)]

MAX_OUTPUT_PIXELS = 16_000_000  # of all images of one answer
MIB = 1 << 20
QUOTED = 60  # characters of a wrong value


class Limits(Settings):
    """Bounds on what is sent, and on what is made at once."""

    upload_bytes: int = Field(default=8 * MIB, ge=1)
    """Of an own image with the form around it."""
    upload_pixels: int = Field(default=16_000_000, ge=16)
    """Of an own image; its header is asked before anything is decoded."""
    json_bytes: int = Field(default=MIB // 4, ge=1)
    """Of any other request."""
    upload_seconds: float = Field(default=60.0, gt=0)
    """In which a request must have arrived."""
    images: int = Field(default=128, ge=2)
    """Of one answer."""
    waiting: int = Field(default=32, ge=1)
    """Requests in line for the one thread that makes images."""

    def images_of(self, resolution: int) -> int:
        """Images of one answer of a model with this resolution: also bounded by their pixels."""
        return max(2, min(self.images, MAX_OUTPUT_PIXELS // resolution**2))


class SampleRequest(Settings):
    """Images of chosen classes."""

    classes: list[ClassName] = Field(default=[], examples=[["A", "B"]])
    """Names; empty for a model without classes."""
    n: int = Field(default=8, ge=1)
    """Images of each class."""
    seed: Seed = 0
    """Of the first image of each class; the others have the numbers that follow."""


class SlideEnd(Settings):
    """One end of a slide."""

    class_name: ClassName | None = Field(default=None, alias="class", examples=["A"])
    """Left out for a model without classes."""
    seed: Seed = 0


class SlideRequest(Settings):
    """Images on the way from one to another."""

    start: SlideEnd = Field(alias="from")
    end: SlideEnd = Field(alias="to")
    steps: int = Field(default=9, ge=2)
    """Images, both ends included."""


class EnhanceRequest(Settings):
    """What goes with an own low-quality image."""

    class_name: ClassName = Field(alias="class", examples=["A"])
    """What the image shows."""
    n: int = Field(default=8, ge=0)
    """Variations of it."""
    seed: Seed = 0
    """Of the enhanced image and of the first variation."""


class Answer(BaseModel):
    """The base of what is answered."""

    model_config = ConfigDict(use_attribute_docstrings=True, protected_namespaces=())


class ModelAnswer(Answer):
    """What the model is and what it can do."""

    name: str
    method: str
    resolution: int
    """R; images have R x R pixels."""
    channels: int
    """1 for grey, 3 for colour."""
    classes: int
    """0 for a model without classes."""
    enhances: bool
    """Whether it takes own low-quality images."""
    low_quality_size: int
    """Pixels of a side that an own image is brought to; 0 if it takes none."""
    max_images: int
    """Of one answer."""
    max_upload_bytes: int
    max_upload_pixels: int
    upload_formats: list[str]


class ClassesAnswer(Answer):
    """A part of the class names."""

    classes: list[str]
    more: bool
    """Whether there are more behind these."""


class QueueAnswer(Answer):
    """How busy the server is."""

    waiting: int
    """Requests in line or under way."""
    room: int
    """Of that many further ones are refused."""


class ImageAnswer(Answer):
    """One image."""

    kind: Literal["sample", "step", "input", "enhanced", "variation"]
    class_name: str | None = Field(alias="class")
    """None between two classes and without classes."""
    seed: int | None
    """``POST /api/sample`` with this class, this seed and n = 1 gives a sample again; None between two seeds."""
    position: float | None
    """Of a step on a slide, 0 to 1."""
    png: str
    """The file in base64."""


class ImagesAnswer(Answer):
    """Images in order."""

    images: list[ImageAnswer]


class ErrorAnswer(Answer):
    """Why nothing came."""

    error: str
    """One sentence with the way out."""


class Refusal(HTTPException):
    """A request that is not done; ``detail`` is one sentence with the way out."""


def json_response(content: Any, status: int = 200, headers: Any = None) -> Response:
    """A JSON answer in ASCII: class names may hold what is no valid text in UTF-8."""
    return Response(json.dumps(content), status, headers, media_type="application/json")


def mistakes_in_words(mistakes: Sequence[Any]) -> str:
    """What pydantic finds wrong with a request, in the words of the command line."""
    return "; ".join(_mistake_in_words(mistake) for mistake in mistakes)


def _mistake_in_words(mistake: Any) -> str:
    field = ".".join(str(part) for part in mistake["loc"] if part not in ("body", "query")) or "the request"
    message = mistake["msg"][0].lower() + mistake["msg"][1:]
    if mistake["type"] == "missing":
        return f"{field} is missing; send it"
    if mistake["type"] == "extra_forbidden":
        return f"{field} is no field of this request; /openapi.json lists them"
    value = repr(mistake.get("input"))
    if len(value) > QUOTED:
        value = value[:QUOTED] + "..."
    return f"{field} is {value}, but {message}"
