"""What a set of generated images says of itself: whether it is complete, what it holds, which folder which class.

``manifest.json`` is written before the images and once more behind the last one:

    kind, format_version      "ctfgan set of samples", 2
    complete                  false until all images are there
    model                     recipe's name and the SHA-256 of each file of the bundle
    format, seed              as --format and --seed said
    image                     encoding, side in pixels, channels
    low_quality               number and SHA-256 of own low-quality images; null if the bundle's were used
    balanced_with             source and target of --balance-with; null without
    readable                  with --keep-readable: top_k, tries, the recogniser's name with its hash, and in the end
                              how many images were drawn and kept; else null
    classes                   name, label in the model, images, and for class folders the folder; in parquet files and
                              .cls entries the label is the place in this list; with --keep-readable drawn and kept
    images, made_with         of all classes, as they were asked for; date and versions

With --keep-readable there is ``.tries``, too: a byte for each image in the order of the set, which says the try that
was kept, from 1; 255 if none was, 0 as long as nothing was tried.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ValidationError

from ctfgan.core.errors import DataError
from ctfgan.core.files import read_json
from ctfgan.core.settings import first_mistake

SET_MANIFEST = "manifest.json"
SET_KIND = "ctfgan set of samples"
SET_TRIES = ".tries"  # hidden, and so nobody's data
SET_VERSION = 2
LONGEST_MANIFEST = 1 << 29  # bytes; a million classes and their folders


class SetClass(BaseModel):
    """One class of a set."""

    name: str
    images: int
    folder: str | None = None


class SetModel(BaseModel):
    """What made the images."""

    recipe: str
    sha256: dict[str, str]


class SetLowQuality(BaseModel):
    """Own low-quality images that they were made from."""

    images: int
    sha256: str


class SetReadable(BaseModel):
    """How images were chosen that are read as their class."""

    top_k: int
    tries: int
    recogniser: str


class SetManifest(BaseModel):
    """What decides the images of a set; all else that is written is for people."""

    complete: bool
    model: SetModel
    format: str
    seed: int
    low_quality: SetLowQuality | None
    readable: SetReadable | None = None
    classes: list[SetClass]


def set_manifest(root: Path) -> SetManifest | None:
    """The manifest of a set that ``ctfgan sample`` made or began to make; None for any other folder.

    Raises:
        DataError: it is one, and damaged or of another version.
    """
    place = root / SET_MANIFEST
    try:
        content = read_json(place, LONGEST_MANIFEST)
    except (OSError, ValueError):  # no manifest, or somebody else's
        return None
    if content.get("kind") != SET_KIND:
        return None
    if content.get("format_version") != SET_VERSION:
        raise DataError(f"{place} was written by another version of ctfgan; make the set again")
    try:
        return SetManifest.model_validate(content)
    except ValidationError as error:
        raise DataError(
            f"{place} is damaged ({first_mistake(error)}); delete the folder, or choose another --out"
        ) from error


def classes_of_folders(root: Path) -> dict[str, str]:
    """Class name of each class folder of a set that ``ctfgan sample`` made; empty for any other folder.

    Not every class name can be a folder's name, and A and a would be one folder on some file systems.

    Raises:
        DataError: the set is not complete, or its manifest is damaged or of another version.
    """
    manifest = set_manifest(root)
    if manifest is None:
        return {}
    if not manifest.complete:
        raise DataError(f"{root} is a set of samples that is not finished; run its 'ctfgan sample' command again first")
    return {entry.folder: entry.name for entry in manifest.classes if entry.folder is not None}
