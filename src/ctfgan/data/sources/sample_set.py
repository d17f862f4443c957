"""What a set of generated images says of itself: whether it is finished, what it holds, which folder which class."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from ctfgan.core.errors import DataError
from ctfgan.core.files import read_json
from ctfgan.core.settings import first_mistake

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
