"""What is asked of the server, and what it answers; the OpenAPI page is made of this."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ctfgan.core.settings import Seed, Settings

Form = Literal["json", "sheet", "zip"]
ClassName = Annotated[str, Field(max_length=1_000)]

SHOWN = 60  # characters of a wrong value


class SampleRequest(Settings):
    """Images of chosen classes."""

    classes: list[ClassName] = Field(default=[], examples=[["A", "B"]])
    """Names; empty for a model without classes."""
    n: int = Field(default=8, ge=1)
    """Images of each class."""
    seed: Seed = 0
    """Of the first image of each class; the others have the numbers that follow."""


class End(Settings):
    """One end of a slide."""

    model_config = ConfigDict(populate_by_name=True)

    class_name: ClassName | None = Field(default=None, alias="class", examples=["A"])
    """Left out for a model without classes."""
    seed: Seed = 0


class SlideRequest(Settings):
    """Images on the way from one to another."""

    model_config = ConfigDict(populate_by_name=True)

    start: End = Field(alias="from")
    end: End = Field(alias="to")
    steps: int = Field(default=9, ge=2)
    """Images, both ends included."""


class EnhanceRequest(Settings):
    """What goes with an own low-quality image."""

    model_config = ConfigDict(populate_by_name=True)

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
    requests_per_minute: int


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

    model_config = ConfigDict(populate_by_name=True)

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


def sentence(mistakes: Sequence[Any]) -> str:
    """What pydantic finds wrong with a request, in the words of the command line."""
    return "; ".join(_sentence(mistake) for mistake in mistakes)


def _sentence(mistake: Any) -> str:
    place = ".".join(str(part) for part in mistake["loc"] if part not in ("body", "query")) or "the request"
    message = mistake["msg"][0].lower() + mistake["msg"][1:]
    if mistake["type"] == "missing":
        return f"{place} is missing; send it"
    if mistake["type"] == "extra_forbidden":
        return f"{place} is no field of this request; /docs lists them"
    shown = repr(mistake.get("input"))
    if len(shown) > SHOWN:
        shown = shown[:SHOWN] + "..."
    return f"{place} is {shown}, but {message}"
