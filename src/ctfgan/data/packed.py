"""Packed images on disk, opened: a folder of the cache, or one that ``ctfgan data build`` wrote. One format for both.

For N images, L of them labelled, of C classes; all arrays open at once, however many images and classes there are:

    packed.json       shape, number of classes, survey, fingerprint
    images.npy        uint8 (N, R, R, K)
    digests.npy       uint64 (N,)   a number for the pixels of each image
    groups.npy        int64 (N,)    the group of each image, if the survey names groups
    labels.npy        int64 (N,)    the label of each image, -1 without one
    order.npy         int64 (L,)    rows of the labelled images, sorted by label, then by row
    offsets.npy       int64 (C+1,)  images of class c: order[offsets[c]:offsets[c+1]]
    names.npy         uint8         all class names in UTF-8, end to end
    name_offsets.npy  int64 (C+1,)  name of class c: names[name_offsets[c]:name_offsets[c+1]]
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray
from pydantic import Field, ValidationError

from ctfgan.core.errors import DataError
from ctfgan.core.files import read_json
from ctfgan.core.settings import Settings, first_mistake
from ctfgan.core.text import excerpt, plural
from ctfgan.data.class_names import ClassNames, starts_of
from ctfgan.data.images import GREY_MODES, Bytes, Fit
from ctfgan.data.levels import Scale
from ctfgan.data.sources.base import UNLABELLED, Labels
from ctfgan.data.splits import Digests, Indices, first_rows

CONTENT = "packed.json"
IMAGES = "images.npy"
DIGESTS = "digests.npy"
GROUPS = "groups.npy"
LABELS = "labels.npy"
ORDER = "order.npy"
OFFSETS = "offsets.npy"
NAMES = "names.npy"
NAME_OFFSETS = "name_offsets.npy"
FORMAT = 4

UNREADABLE_KEPT = 1_000
"""Images that cannot be read whose names and reasons are kept."""

_Count = Annotated[int, Field(ge=0, lt=2**48)]
_Side = Annotated[int, Field(ge=1, lt=2**16)]


@dataclass(frozen=True)
class SourceSummary:
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
    """Of an image; 0 if that is not known."""

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
    labels: Labels
    """Memory-mapped ``(N,)`` int64; -1 without a label."""
    order: Indices
    """Rows of the labelled images, sorted by label, then by row; memory-mapped."""
    offsets: NDArray[np.int64]
    """Memory-mapped ``(C+1,)``: where in ``order`` each class begins, and the end."""
    names: ClassNames
    """Class names in label order, each decoded when it is asked for."""
    survey: SourceSummary
    fit: Fit
    """How images that were not square became square."""
    fingerprint: str
    """SHA-256 of pixels, labels and class names."""
    groups: NDArray[np.int64] | None = None
    """Memory-mapped ``(N,)``: the group of each image in the survey's list; None if there are none."""

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def channels(self) -> Literal[1, 3]:
        """1 for grey, 3 for colour."""
        return 1 if self.images.shape[3] == 1 else 3

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """All class names in label order; for many classes rather :attr:`names`."""
        return self.names.all()

    @cached_property
    def firsts(self) -> Indices:
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

    def groups_within(self, rows: Indices) -> tuple[str, ...]:
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

    def rows_of(self, label: int) -> Indices:
        """Rows of the images of a class, ascending; a view of the file, whatever the numbers of images and classes."""
        return self.order[self.offsets[label] : self.offsets[label + 1]]

    def rows_of_all(self, labels: Labels) -> Indices:
        """Rows of the images of several classes, class after class."""
        starts, ends = self.offsets[labels], self.offsets[labels + 1]
        counts = ends - starts
        places = np.repeat(starts - (np.cumsum(counts) - counts), counts) + np.arange(counts.sum())
        return self.order[places]

    def counts(self) -> NDArray[np.int64]:
        """Images of each class, ``(C,)``."""
        return np.diff(self.offsets)


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
        content = _Content.model_validate(stored) if version == FORMAT else None
    except (OSError, ValueError) as error:
        reason = first_mistake(error) if isinstance(error, ValidationError) else str(error)
        raise damaged(path, reason) from error
    if content is None:
        raise damaged(path, f"it has format {excerpt(version, 20)}, this version of ctfgan reads {FORMAT}")
    images = open_array(folder / IMAGES, np.uint8, content.shape)
    labels = open_labels(folder, len(images), content.classes)
    digests = open_array(folder / DIGESTS, np.uint64, (len(images),))
    groups = open_array(folder / GROUPS, np.int64, (len(images),)) if content.survey.groups else None
    return PackedImages(images, digests, *labels, content.survey, content.fit, content.fingerprint, groups)


class _Content(Settings):
    """``packed.json``."""

    format: int
    shape: tuple[_Count, _Side, _Side, Literal[1, 3]]
    classes: _Count
    fit: Fit
    survey: SourceSummary
    fingerprint: str


def check_labels(packed: PackedImages, folder: Path) -> None:
    """Compare labels, order and names with each other, entry by entry; :func:`open_packed` looks at their sizes alone.

    Args:
        packed: images that anybody may have packed.
        folder: where the arrays are.

    Raises:
        DataError: labels beyond the classes, rows that are not those of a class, or names that are no names.
    """
    labels, classes = packed.labels, len(packed.names)
    _check_starts(packed.offsets, folder / OFFSETS)
    _check_starts(packed.names.offsets, folder / NAME_OFFSETS)
    if len(labels) and (labels.min() < UNLABELLED or labels.max() >= classes):
        raise damaged(folder / LABELS, f"labels outside -1 ... {classes - 1}")
    if not np.array_equal(_counts(labels, classes), packed.counts()):
        raise damaged(folder / OFFSETS, f"it does not count the labels of {LABELS}")
    if not np.array_equal(packed.order, _order(labels, len(packed.order))):
        raise damaged(folder / ORDER, "rows that are not those of the classes")
    if not packed.names.are_fit():
        raise damaged(folder / NAMES, "names that are empty, given twice, no UTF-8, or control a terminal")


def _check_starts(offsets: NDArray[np.int64], path: Path) -> None:
    if offsets[0] != 0 or (np.diff(offsets) < 0).any():
        raise damaged(path, "its numbers do not ascend from 0")


def write_labels(folder: Path, labels: Labels, classes: Sequence[str]) -> None:
    """Write the five arrays of labels and class names into a folder.

    Args:
        folder: where to.
        labels: ``(N,)`` in ``[0, len(classes))``, or -1 for an image without a label.
        classes: names in label order.
    """
    counts = _counts(labels, len(classes))
    assert len(counts) == len(classes), "a label beyond the class names"
    names = ClassNames.of(classes)
    np.save(folder / LABELS, labels.astype(np.int64))
    np.save(folder / ORDER, _order(labels, int(counts.sum())))
    np.save(folder / OFFSETS, starts_of(counts))
    np.save(folder / NAMES, names.text)
    np.save(folder / NAME_OFFSETS, names.offsets)


def open_labels(folder: Path, images: int, classes: int) -> tuple[Labels, Indices, NDArray[np.int64], ClassNames]:
    """Memory-map what :func:`write_labels` wrote: labels, order, offsets and names of :class:`PackedImages`.

    Nothing is read but headers and ends.

    Raises:
        DataError: an array is missing, damaged, or does not fit the numbers of images and classes.
    """
    offsets = open_array(folder / OFFSETS, np.int64, (classes + 1,))
    name_offsets = open_array(folder / NAME_OFFSETS, np.int64, (classes + 1,))
    labelled, letters = int(offsets[-1]), int(name_offsets[-1])
    if labelled < 0 or letters < 0:
        raise damaged(folder / (OFFSETS if labelled < 0 else NAME_OFFSETS), "it ends with a negative number")
    return (
        open_array(folder / LABELS, np.int64, (images,)),
        open_array(folder / ORDER, np.int64, (labelled,)),
        offsets,
        ClassNames(open_array(folder / NAMES, np.uint8, (letters,)), name_offsets),
    )


def open_array(path: Path, dtype: DTypeLike, shape: tuple[int, ...]) -> NDArray[Any]:
    """Memory-map an ``.npy`` file that must have a type and a shape.

    Raises:
        DataError: it is missing or cut off, or holds something else.
    """
    if not path.is_file():
        raise damaged(path, "it is missing")
    try:
        array: np.memmap[Any, Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # numpy's reader of headers raises whatever the remains run into
        raise damaged(path, excerpt(error)) from error
    if array.offset + array.nbytes != path.stat().st_size:
        raise damaged(path, "it is longer than its header says")
    if array.dtype != dtype or array.shape != shape:
        held = excerpt(f"{array.dtype} of shape {array.shape}")
        raise damaged(path, f"it holds {held}, not {np.dtype(dtype)} of shape {shape}")
    return array


def damaged(path: Path, reason: str) -> DataError:
    """What to say of a damaged file in a folder of packed images."""
    return DataError(f"{path} is damaged ({reason}); delete the folder {path.parent} and make it again")


def _counts(labels: Labels, classes: int) -> NDArray[np.int64]:
    return np.bincount(labels[labels >= 0], minlength=classes)


def _order(labels: Labels, labelled: int) -> Indices:
    """Rows of the labelled images, sorted by label, then by row; those without a label would come first."""
    return np.argsort(labels, kind="stable")[len(labels) - labelled :].astype(np.int64)
