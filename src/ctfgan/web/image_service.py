"""From a request to images: the library's powers within the limits of a server; images as JSON, sheet or archive."""

from __future__ import annotations

import json
import zipfile
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from fastapi import Response

from ctfgan.core.errors import ConfigError, DataError
from ctfgan.data.images import Bytes, TooManyPixels, WrongSize, png, to_picture
from ctfgan.data.sources.encoded import known_formats, open_image, read_image
from ctfgan.models.ctf_gan import TransferGenerator
from ctfgan.sampling.model import ImageId, Model
from ctfgan.sampling.names import folder_names
from ctfgan.sampling.sheets import enlarged, sheet_of_columns
from ctfgan.web.class_search import ClassSearch
from ctfgan.web.messages import (
    AnswerFormat,
    EnhanceRequest,
    Limits,
    ModelAnswer,
    Refusal,
    SampleRequest,
    SlideRequest,
    json_response,
)

SEEDS = 1 << 48
ZIP_DATE = (1980, 1, 1, 0, 0, 0)  # the same images make the same archive


@dataclass(frozen=True)
class ImageInfo:
    """What one image is."""

    kind: str
    class_name: str | None
    seed: int | None
    position: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"kind": self.kind, "class": self.class_name, "seed": self.seed, "position": self.position}

    def file_name(self, number: int) -> str:
        """Of the image in its folder; ``number`` counts all images."""
        if self.position is not None:
            return f"{self.kind}-{number:03d}.png"
        return f"{self.kind}.png" if self.seed is None else f"{self.kind}-{self.seed}.png"


@dataclass(frozen=True)
class ImageResult:
    """Images of one request."""

    name: str
    """Of a file with them: samples, slide, enhanced."""
    images: Bytes
    """uint8 ``(N, R, R, K)``."""
    infos: Sequence[ImageInfo]
    """What each of them is."""
    headings: Sequence[str]
    """Of the columns of a sheet; they have equally many images."""
    origin: dict[str, Any]
    """Model and request, for the manifest of an archive."""

    def response(self, form: AnswerFormat) -> Response:
        """The images as JSON, one sheet or a zip archive."""
        if form == "sheet":
            picture = sheet_of_columns(self.images, len(self.images) // len(self.headings), self.headings)
            return self._download(png(picture), "image/png", "png")
        files = [png(to_picture(image)) for image in self.images]
        if form == "zip":
            return self._download(self._archive(files), "application/zip", "zip")
        images = [
            {**info.as_dict(), "png": b64encode(file).decode()} for info, file in zip(self.infos, files, strict=True)
        ]
        return json_response({"images": images})

    def _download(self, content: bytes, media_type: str, suffix: str) -> Response:
        disposition = {"Content-Disposition": f'attachment; filename="ctfgan-{self.name}.{suffix}"'}
        return Response(content, headers=disposition, media_type=media_type)

    def _archive(self, files: Sequence[bytes]) -> bytes:
        content, listing = BytesIO(), []
        with zipfile.ZipFile(content, "w") as archive:  # PNGs are compressed already
            for number, (info, folder, file) in enumerate(zip(self.infos, self._folders(), files, strict=True)):
                name = folder + info.file_name(number)
                listing.append({"file": name, **info.as_dict()})
                archive.writestr(zipfile.ZipInfo(name, ZIP_DATE), file)
            manifest = json.dumps({**self.origin, "images": listing}, indent=1)
            archive.writestr(zipfile.ZipInfo("manifest.json", ZIP_DATE), manifest)
        return content.getvalue()

    def _folders(self) -> list[str]:
        """A folder for each class, or none: on a slide images belong to no class."""
        if any(info.class_name is None for info in self.infos):
            return [""] * len(self.infos)
        names = list(dict.fromkeys(str(info.class_name) for info in self.infos))
        folder = dict(zip(names, folder_names(names), strict=True))
        return [f"{folder[str(info.class_name)]}/" for info in self.infos]


class ImageService:
    """A model behind a counter. Its methods are called from one thread at a time.

    Args:
        model: the generator.
        limits: of images and pixels.
    """

    def __init__(self, model: Model, limits: Limits) -> None:
        self._model = model
        self._limits = limits
        bundle = model.bundle
        self.method = bundle.recipe.method.kind
        self.is_conditional = bundle.recipe.method.is_conditional
        self.enhances = isinstance(bundle.generator, TransferGenerator)
        self.search = ClassSearch(model.classes if self.is_conditional else ())
        self.resolution = bundle.recipe.data.resolution
        self.max_images = limits.images_of(self.resolution)

    def about(self) -> ModelAnswer:
        """What a visitor should know before asking."""
        spec, limits = self._model.bundle.data_spec, self._limits
        return ModelAnswer(
            name=self._model.bundle.recipe.name,
            method=self.method,
            resolution=self.resolution,
            channels=spec.channels,
            classes=len(self.search.names),
            enhances=self.enhances,
            low_quality_size=spec.low_quality_size if self.enhances else 0,
            max_images=self.max_images,
            max_upload_bytes=limits.upload_bytes,
            max_upload_pixels=limits.upload_pixels,
            upload_formats=list(known_formats()),
        )

    def check_sample(self, request: SampleRequest) -> None:
        """Refuse what cannot be made, before it waits in line."""
        if not request.classes and self.is_conditional:
            raise Refusal(422, "no class is chosen; choose one or more")
        self._check_classes(request.classes)
        self._check_count(request.n * max(1, len(set(request.classes))))

    def sample(self, request: SampleRequest) -> ImageResult:
        """Images of each class; the seed on the page is the number of an image in its class."""
        names: list[str | None] = list(dict.fromkeys(request.classes)) or [None]
        ids = [ImageId(name, number) for name in names for number in _numbers(request.seed, request.n)]
        infos = [ImageInfo("sample", image.class_name, image.number) for image in ids]
        headings = [name or "" for name in names]
        return ImageResult("samples", self._model.images(ids), infos, headings, self._origin("sample", request))

    def check_slide(self, request: SlideRequest) -> None:
        """Refuse what cannot be made, before it waits in line."""
        names = [end.class_name for end in (request.start, request.end) if end.class_name is not None]
        if len(names) < 2 and self.is_conditional:
            raise Refusal(422, "an end of the slide has no class; choose one")
        self._check_classes(names)
        self._check_count(request.steps)

    def slide(self, request: SlideRequest) -> ImageResult:
        """Images on the way from one end to the other."""
        start, end = (ImageId(one.class_name, one.seed) for one in (request.start, request.end))
        images = self._model.slide(start, end, request.steps)
        name = start.class_name if start.class_name == end.class_name else None
        seed = start.number if start == end else None
        positions = [step / (request.steps - 1) for step in range(request.steps)]
        infos = [ImageInfo("step", name, seed, position) for position in positions]
        ends = ((start, 0.0), (end, 1.0))
        infos[0], infos[-1] = (ImageInfo("step", one.class_name, one.number, position) for one, position in ends)
        headings = [f"{position:.0%}" for position in positions]
        return ImageResult("slide", images, infos, headings, self._origin("slide", request))

    def check_enhance(self, request: EnhanceRequest) -> None:
        """Refuse what cannot be made, before it waits in line."""
        self._check_classes([request.class_name])
        self._check_count(request.n + 2)

    def enhance(self, request: EnhanceRequest, content: bytes) -> ImageResult:
        """An own image as the model takes it, its high-quality version by G_LH, and variations of it by G_A."""
        name = request.class_name
        own = np.stack([self._decode(content)])
        seeds = _numbers(request.seed, request.n)
        images = [enlarged(own, self.resolution), self._model.enhance(own, name, seed=request.seed)]
        infos = [ImageInfo("input", name, None), ImageInfo("enhanced", name, request.seed)]
        if seeds:
            images.append(self._model.images([ImageId(name, seed) for seed in seeds], low_quality=own))
            infos += [ImageInfo("variation", name, seed) for seed in seeds]
        headings = ["input", "enhanced", *(f"{number + 1}" for number in range(len(seeds)))]
        return ImageResult("enhanced", np.concatenate(images), infos, headings, self._origin("enhance", request))

    def _decode(self, content: bytes) -> Bytes:
        try:
            open_image(content, self._limits.upload_pixels).close()
        except WrongSize as error:
            raise Refusal(413 if isinstance(error, TooManyPixels) else 422, f"the image has {error}") from error
        except DataError as error:
            *kinds, last = known_formats()
            words = f"{', '.join(kinds)} or {last}"
            raise Refusal(415, f"this is no {words} image that can be read; send another file") from error
        try:
            return self._model.fitted(read_image(content, self._limits.upload_pixels))
        except (DataError, OSError, ValueError) as error:
            raise Refusal(422, f"the image cannot be read: {error}; save it again and send that") from error

    def _check_classes(self, names: Sequence[str]) -> None:
        if names and not self.is_conditional:
            raise Refusal(422, f"a {self.method} model makes images of no chosen class; leave the classes out")
        try:
            self._model.index.require(names)
        except ConfigError as error:
            raise Refusal(404, str(error)) from error

    def _check_count(self, images: int) -> None:
        if images > self.max_images:
            raise Refusal(422, f"{images:,} images in one answer; ask for at most {self.max_images:,}")

    def _origin(self, endpoint: str, request: Any) -> dict[str, Any]:
        provenance = self._model.bundle.provenance
        return {
            "model": self._model.bundle.recipe.name,
            "sha256": provenance.get("sha256", {}).get("model.safetensors"),
            "request": {"path": f"/api/{endpoint}", **request.model_dump(by_alias=True)},
        }


def _numbers(first: int, count: int) -> list[int]:
    return [(first + number) % SEEDS for number in range(count)]
