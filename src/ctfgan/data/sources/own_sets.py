"""Sets that this program wrote: packed images of ``ctfgan data build``, and what a set of ``ctfgan sample`` says of
itself (whether it is finished, what it holds, which folder which class).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from PIL import Image
from pydantic import BaseModel, ValidationError

from ctfgan.core.errors import DataError
from ctfgan.core.files import read_json
from ctfgan.core.settings import first_mistake
from ctfgan.core.text import printable
from ctfgan.data.images import to_picture
from ctfgan.data.manifest import check_manifest
from ctfgan.data.packed import Survey, open_packed
from ctfgan.data.sources.base import ImageSource, file_identity

SET_MANIFEST = "manifest.json"
SET_KIND = "ctfgan set of samples"
SET_VERSION = 1
UNFINISHED = ".unfinished.jsonl"
LONGEST_MANIFEST = 1 << 29  # bytes; a million classes and the pieces of their folders


class _Class(BaseModel):
    name: str
    images: int
    folder: str | None = None


class _Origin(BaseModel):
    sha256: str | dict[str, str]


class _Model(_Origin):
    recipe: str


class _LowQuality(_Origin):
    images: int


class SetHead(BaseModel):
    """What decides the images of a set; all else that is written is for people."""

    model: _Model
    format: str
    seed: int
    low_quality: _LowQuality | None
    classes: list[_Class]


class PieceRecord(BaseModel):
    """How a complete piece looks."""

    bytes: int
    sha256: str


class NumberedRecord(PieceRecord):
    """The same, of a set that is being made."""

    piece: int


class _Whole(SetHead):
    pieces: list[PieceRecord]


def require(form: type[BaseModel], content: Mapping[str, Any], place: Path) -> None:
    """Compare what a set says of itself with the form that it must have.

    Raises:
        DataError: it is another one.
    """
    try:
        form.model_validate(content)
    except ValidationError as error:
        raise DataError(
            f"{place} is damaged ({first_mistake(error)}); delete the folder, or choose another --out"
        ) from error


def set_manifest(root: Path) -> dict[str, Any] | None:
    """The manifest of a finished set that ``ctfgan sample`` made; None for any other folder.

    Raises:
        DataError: it is one, and damaged.
    """
    try:
        content = read_json(root / SET_MANIFEST, LONGEST_MANIFEST)
    except (OSError, ValueError):  # no manifest, or somebody else's
        return None
    if content.get("kind") != SET_KIND:
        return None
    if content.get("format_version") == SET_VERSION:
        require(_Whole, content, root / SET_MANIFEST)
    return content


def check_finished(root: Path) -> None:
    """Refuse a set that ``ctfgan sample`` has begun and not finished.

    Raises:
        DataError: it is one.
    """
    if (root / UNFINISHED).exists():
        raise DataError(f"{root} is a set of samples that is not finished; run its 'ctfgan sample' command again first")


def classes_of_folders(root: Path) -> dict[str, str]:
    """Class name of each class folder of a set that ``ctfgan sample`` made; empty for any other folder.

    Not every class name can be a folder's name, and A and a would be one folder on some file systems.

    Raises:
        DataError: the set's manifest is damaged, or of another version.
    """
    content = set_manifest(root)
    if content is None:
        return {}
    if content.get("format_version") != SET_VERSION:
        raise DataError(f"{root / SET_MANIFEST} was written by another version of ctfgan; make the set again")
    return {entry["folder"]: entry["name"] for entry in content["classes"] if "folder" in entry}


class PackedSource(ImageSource):
    """Packed images as a source: ``pack`` uses them where they are if size and colour agree, else resamples them."""

    def __init__(self, folder: Path) -> None:
        packed = open_packed(folder)
        check_manifest(packed.manifest, folder)
        note = f"built from {packed.survey.location} at {packed.form}, fit {packed.fit}"
        survey = replace(packed.survey, location=str(folder), notes=tuple(map(printable, (*packed.survey.notes, note))))
        self.packed = replace(packed, survey=survey)
        self.location = str(folder)
        self.classes = self.packed.names
        self.labels = packed.labels
        self.notes = survey.notes
        self._files = sorted(folder.iterdir())

    def identity(self) -> str:
        return file_identity(self._files)

    def name(self, index: int) -> str:
        return f"{self.location}[{index}]"

    def header(self, index: int) -> tuple[str, tuple[int, int]]:
        _, height, width, channels = self.packed.images.shape
        return ("L" if channels == 1 else "RGB"), (width, height)

    def read(self, index: int) -> Image.Image:
        return to_picture(self.packed.images[index])

    def survey(self) -> Survey:
        """The stored survey, with size and colour as they are now."""
        mode, (side, _) = self.header(0)
        return replace(
            self.packed.survey, sides=(side, side, side), modes={mode: len(self.labels)}, most_pixels=side * side
        )
