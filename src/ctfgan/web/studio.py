"""From what is asked to images: the library's powers within the limits of a server."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ctfgan.core.errors import ConfigError, DataError
from ctfgan.data.images import Bytes, TooManyPixels, WrongSize
from ctfgan.data.sources.encoded import known_formats, open_image, read_image
from ctfgan.models.generator_a import TransferGenerator
from ctfgan.sampling import Model, Point
from ctfgan.sampling.sheets import enlarged
from ctfgan.web.class_search import ClassSearch
from ctfgan.web.limits import Limits
from ctfgan.web.messages import EnhanceRequest, ModelAnswer, SampleRequest, SlideRequest
from ctfgan.web.refusals import Refusal
from ctfgan.web.results import Entry, Result

SEEDS = 1 << 48


class Studio:
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
            requests_per_minute=limits.requests_per_minute,
        )

    def check_sample(self, request: SampleRequest) -> None:
        """Refuse what cannot be made, before it waits in line."""
        if request.classes and not self.is_conditional:
            raise Refusal(422, f"a {self.method} model makes images of no chosen class; leave the classes out")
        if not request.classes and self.is_conditional:
            raise Refusal(422, "no class is chosen; choose one or more")
        self._check_classes(request.classes)
        self._check_count(request.n * max(1, len(set(request.classes))))

    def sample(self, request: SampleRequest) -> Result:
        """Images of each class, each with its own seed."""
        names: list[str | None] = list(dict.fromkeys(request.classes)) or [None]
        points = [Point(name, seed) for name in names for seed in _seeds(request.seed, request.n)]
        entries = [Entry("sample", *point) for point in points]
        headings = [name or "" for name in names]
        return Result("samples", self._model.images_of(points), entries, headings, self._origin("sample", request))

    def check_slide(self, request: SlideRequest) -> None:
        """Refuse what cannot be made, before it waits in line."""
        names = [request.start.class_name, request.end.class_name]
        known = [name for name in names if name is not None]
        if known and not self.is_conditional:
            raise Refusal(422, f"a {self.method} model makes images of no chosen class; leave the classes out")
        if len(known) < len(names) and self.is_conditional:
            raise Refusal(422, "an end of the slide has no class; choose one")
        self._check_classes(known)
        self._check_count(request.steps)

    def slide(self, request: SlideRequest) -> Result:
        """Images on the way from one end to the other."""
        start, end = (Point(one.class_name, one.seed) for one in (request.start, request.end))
        images = self._model.slide(start, end, request.steps)
        name = start.class_name if start.class_name == end.class_name else None
        seed = start.seed if start.seed == end.seed else None
        positions = [step / (request.steps - 1) for step in range(request.steps)]
        entries = [Entry("step", name, seed, position) for position in positions]
        entries[0], entries[-1] = Entry("step", *start, 0.0), Entry("step", *end, 1.0)
        headings = [f"{position:.0%}" for position in positions]
        return Result("slide", images, entries, headings, self._origin("slide", request))

    def check_enhance(self, request: EnhanceRequest) -> None:
        """Refuse what cannot be made, before it waits in line."""
        if not self.enhances:
            raise Refusal(422, f"a {self.method} model cannot enhance images; serve a ctf-gan model")
        self._check_classes([request.class_name])
        self._check_count(request.n + 2)

    def enhance(self, request: EnhanceRequest, content: bytes) -> Result:
        """An own image as the model takes it, its high-quality version by G_LH, and variations of it by G_A."""
        name = request.class_name
        own = np.stack([self._decoded(content)])
        seeds = _seeds(request.seed, request.n)
        enhanced = self._model.enhance(own, name, seed=request.seed)
        images = [enlarged(own, self.resolution), enhanced]
        entries = [Entry("input", name, None), Entry("enhanced", name, request.seed)]
        if seeds:
            images.append(self._model.images_of([Point(name, seed) for seed in seeds], own))
            entries += [Entry("variation", name, seed) for seed in seeds]
        headings = ["input", "enhanced", *(f"{number + 1}" for number in range(len(seeds)))]
        return Result("enhanced", np.concatenate(images), entries, headings, self._origin("enhance", request))

    def _decoded(self, content: bytes) -> Bytes:
        try:
            open_image(content, self._limits.upload_pixels).close()
        except WrongSize as error:
            raise Refusal(413 if isinstance(error, TooManyPixels) else 422, f"the image has {error}") from error
        except DataError as error:
            *kinds, last = known_formats()
            words = f"{', '.join(kinds)} or {last}"
            raise Refusal(415, f"this is no {words} image that can be read; send another file") from error
        try:
            image = read_image(content, self._limits.upload_pixels)
            return self._model.fitted(image)
        except (DataError, OSError, ValueError) as error:
            raise Refusal(422, f"the image cannot be read: {error}; save it again and send that") from error

    def _check_classes(self, names: Sequence[str]) -> None:
        try:
            self._model.labels_of(names)
        except ConfigError as error:
            raise Refusal(404, str(error)) from error

    def _check_count(self, images: int) -> None:
        if images > self.max_images:
            raise Refusal(422, f"{images:,} images in one answer; ask for at most {self.max_images:,}")

    def _origin(self, what: str, request: Any) -> dict[str, Any]:
        provenance = self._model.bundle.provenance
        return {
            "model": self._model.bundle.recipe.name,
            "sha256": provenance.get("sha256", {}).get("model.safetensors"),
            "request": {"path": f"/api/{what}", **request.model_dump(by_alias=True)},
        }


def _seeds(first: int, count: int) -> list[int]:
    return [(first + number) % SEEDS for number in range(count)]
