"""Packed images on disk, opened: a folder of the cache, or one that ``ctfgan data build`` wrote. One format for both.

packed.json    shape, number of classes, survey, fingerprint
images.npy     uint8 (N, R, R, K)
digests.npy    uint64 (N,), a number for the pixels of each image
groups.npy     int64 (N,), the group of each image, if the survey names groups
and the arrays of manifest.py
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, ValidationError

from ctfgan.core.files import read_json
from ctfgan.core.settings import Settings, first_mistake
from ctfgan.core.text import excerpt, plural
from ctfgan.data.images import GREY_MODES, Bytes, Fit
from ctfgan.data.leakage import Digests, first_rows
from ctfgan.data.levels import Scale
from ctfgan.data.manifest import OFFSETS, ClassNames, Manifest, damaged, open_array, open_manifest
from ctfgan.data.sources.base import Labels

CONTENT = "packed.json"
IMAGES = "images.npy"
DIGESTS = "digests.npy"
GROUPS = "groups.npy"
FORMAT = 4
OPENED = (3, FORMAT)
"""Formats that are opened; what is new in the last has defaults."""

UNREADABLE_KEPT = 1_000
"""Images that cannot be read whose names and reasons are kept."""

_Count = Annotated[int, Field(ge=0, lt=2**48)]
_Side = Annotated[int, Field(ge=1, lt=2**16)]


@dataclass(frozen=True)
class Survey:
    """What the headers of a source say."""

    location: str
    images: int
    sides: tuple[int, int, int]
    """Smallest, median and largest shorter side in pixels."""
    modes: dict[str, int]
    unreadable: tuple[tuple[str, str], ...]
    """Name and reason of the first images that were skipped; there may be millions in all."""
    notes: tuple[str, ...]
    groups: tuple[str, ...] = ()
    """Names of the groups of images that a split keeps together; empty if there are none."""
    more_unreadable: _Count = 0
    """How many more images were skipped than :attr:`unreadable` names."""
    levels: dict[str, Scale] = field(default_factory=dict)
    """What the levels of images that are no bytes mean, by the kind of their numbers."""
    most_pixels: _Count = 0
    """Of an image; 0 where an older version packed the images."""

    @property
    def unreadable_count(self) -> int:
        """How many images were skipped."""
        return len(self.unreadable) + self.more_unreadable

    @property
    def is_grey(self) -> bool:
        """Whether no image has colour."""
        return set(self.modes) <= GREY_MODES


@dataclass(frozen=True)
class PackedImages:
    """Decoded images of one size, on disk: a folder of the cache, or one that ``ctfgan data build`` wrote.

    Opening one reads a few hundred bytes and maps the rest, whatever the numbers of images and classes.
    """

    images: Bytes
    """Memory-mapped uint8 ``(N, R, R, K)``."""
    digests: Digests
    """Memory-mapped ``(N,)``: a number for the pixels of each image; copies have the same."""
    manifest: Manifest
    """Labels, images of each class, names; memory-mapped."""
    survey: Survey
    fit: Fit
    """How images that were not square became square."""
    fingerprint: str
    """SHA-256 of pixels, labels and class names."""
    groups: NDArray[np.int64] | None = None
    """Memory-mapped ``(N,)``: the group of each image in the survey's list; None if there are none."""

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def labels(self) -> Labels:
        """``(N,)`` int64, memory-mapped; -1 without a label."""
        return self.manifest.labels

    @property
    def names(self) -> ClassNames:
        """Class names in label order, each decoded when it is asked for."""
        return self.manifest.names

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """All class names in label order; for many classes rather :attr:`names`."""
        return self.manifest.names.all()

    @cached_property
    def firsts(self) -> NDArray[np.int64]:
        """For each image the row of the first one with its pixels, ``(N,)``: its own row, but for copies."""
        return first_rows(self.digests)

    @property
    def copies(self) -> int:
        """How many images are copies of one before them."""
        return int((self.firsts != np.arange(len(self))).sum())

    def copies_of_class(self, label: int) -> str:
        """Why a class has fewer images to divide than it seems to have, in brackets; empty if all of them differ."""
        firsts = self.firsts[self.rows_of(label)]
        different = len(np.unique(firsts))
        if different == len(firsts):
            return ""
        shows = f"its {len(firsts):,} images show only {plural(different, 'picture')}"
        return f" ({shows}, and copies stay on one side of every split)"

    def groups_within(self, rows: NDArray[np.int64]) -> tuple[str, ...]:
        """Names of the groups all of whose images are among some rows; none if there are no groups."""
        if self.groups is None:
            return ()
        inside = np.bincount(self.groups[rows], minlength=len(self.survey.groups))
        sizes = np.bincount(self.groups, minlength=len(self.survey.groups))
        return tuple(self.survey.groups[group] for group in np.flatnonzero((inside == sizes) & (sizes > 0)))

    @property
    def form(self) -> str:
        """Size and colour in words."""
        size = self.images.shape[1]
        return f"{size}x{size}, {'grey' if self.images.shape[3] == 1 else 'colour'}"

    def rows_of(self, label: int) -> NDArray[np.int64]:
        """Rows of the images of a class, ascending, in constant time."""
        return self.manifest.rows_of(label)


def fingerprint_of(images: Bytes, labels: Labels, classes: Sequence[str]) -> str:
    """SHA-256 of pixels, labels and class names; tells nothing of places."""
    digest = hashlib.sha256(images.data if images.flags.c_contiguous else images.tobytes())
    digest.update(np.ascontiguousarray(labels).tobytes() + "\0".join(classes).encode())
    return digest.hexdigest()


def is_packed(folder: Path) -> bool:
    """Whether a folder holds packed images, complete or damaged."""
    return (folder / CONTENT).is_file() or ((folder / IMAGES).is_file() and (folder / OFFSETS).is_file())


def open_packed(folder: Path) -> PackedImages:
    """Map the images of a folder into memory.

    Raises:
        DataError: a file is missing, cut off or of another version.
    """
    path = folder / CONTENT
    if not path.is_file():
        raise damaged(path, "it is missing")
    try:
        stored = read_json(path)
        version = stored.get("format")
        content = _Content.model_validate(stored) if version in OPENED else None
    except (OSError, ValueError) as error:
        reason = first_mistake(error) if isinstance(error, ValidationError) else str(error)
        raise damaged(path, reason) from error
    if content is None:
        raise damaged(
            path, f"it has format {excerpt(version, 20)}, this version of ctfgan reads {OPENED[0]} and {FORMAT}"
        )
    images = open_array(folder / IMAGES, np.uint8, content.shape)
    manifest = open_manifest(folder, len(images), content.classes)
    digests = open_array(folder / DIGESTS, np.uint64, (len(images),))
    groups = open_array(folder / GROUPS, np.int64, (len(images),)) if content.survey.groups else None
    return PackedImages(images, digests, manifest, content.survey, content.fit, content.fingerprint, groups)


class _Content(Settings):
    """``packed.json``."""

    format: int
    shape: tuple[_Count, _Side, _Side, Literal[1, 3]]
    classes: _Count
    fit: Fit
    survey: Survey
    fingerprint: str
