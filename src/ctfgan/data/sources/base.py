"""What every format reader offers; the rest of the program sees nothing else of a format."""

from __future__ import annotations

import hashlib
import os
import re
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ctfgan.core.errors import DataError
from ctfgan.core.text import excerpt, is_printable
from ctfgan.data.images import check_size

Labels = NDArray[np.int64]
UNLABELLED = -1
MOST_EMPTY = 10_000
"""Classes that a few images may leave empty where labels alone say how many there are."""

PublishedSplit = Literal["all", "train", "test"]
WHOLE = ""
"""The split of files whose names speak of none."""
TRAIN, TEST, VALIDATION = "train", "test", "validation"
_SPLIT_WORDS = {
    TRAIN: re.compile(r"(?<![a-z])(?:train|training|trn)(?![a-z])"),
    TEST: re.compile(r"(?<![a-z])(?:test|testing|tst|t10k)(?![a-z])"),
    VALIDATION: re.compile(r"(?<![a-z])(?:val|valid|validation)(?![a-z])"),
}


@dataclass(frozen=True)
class Groups:
    """Which images come from one hand, such as the face of a font; a split keeps a group together."""

    numbers: NDArray[np.int64]
    """``(N,)``, the group of each image."""
    names: tuple[str, ...]
    """Of the groups, by number."""


class ImageSource(ABC):
    """A set of images, opened but not decoded."""

    location: str
    """What the user called it, for messages."""
    labels: Labels
    """Label of each image; -1 for an image without one."""
    classes: Sequence[str] = ()
    """Class names in label order; empty if the images have no labels."""
    notes: tuple[str, ...] = ()
    """What was passed over, one sentence each."""
    groups: Groups | None = None
    """None if groups do not matter."""
    is_concurrent: bool = False
    """Whether several threads may decode images at once."""

    @abstractmethod
    def identity(self) -> str:
        """A string that changes whenever the images may have changed."""

    @abstractmethod
    def name(self, index: int) -> str:
        """How to call image ``index`` in a message."""

    @abstractmethod
    def header(self, index: int) -> tuple[str, tuple[int, int]]:
        """Mode and (width, height), without decoding; raises DataError or OSError if unreadable."""

    @abstractmethod
    def read(self, index: int) -> Image.Image:
        """The decoded image; raises DataError, OSError or ValueError if it is damaged."""

    def reader(self, index: int) -> Callable[[], Image.Image]:
        """What decodes image ``index`` in any thread; what one thread alone must read is read before it returns."""
        return partial(self.read, index)


Opener = Callable[[], ImageSource]
"""A format reader returns one for each split that the data set publishes, by its name; of most, one for the whole."""


def split_named(name: str) -> str:
    """The split that a name speaks of as a word of its own: ``HWDB1.1trn_gnt``, ``Gnt1.0TrainPart1``, ``val-007.tar``.

    Of several the first counts; :data:`WHOLE` if there is none.
    """
    words = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
    matches = [(match.start(), split) for split, word in _SPLIT_WORDS.items() if (match := word.search(words))]
    return min(matches)[1] if matches else WHOLE


def by_split(root: Path, files: Iterable[Path]) -> dict[str, list[Path]]:
    """Files grouped by the split that the outermost speaking part of their path below ``root`` names."""
    groups: dict[str, list[Path]] = {}
    for file in files:
        named = (split_named(name) for name in file.relative_to(root).parts)
        groups.setdefault(next(filter(None, named), WHOLE), []).append(file)
    return groups


def part_location(path: Path | str, split: str) -> str:
    """How a message calls one split of a data set."""
    return f"{path} ({split})" if split else str(path)


class ArraySource(ImageSource):
    """Images that are already an array, in memory or memory-mapped: npz, idx, CIFAR and STL-10 files end here.

    Args:
        images: uint8 ``(N, H, W)`` or ``(N, H, W, 3)``.
        labels: ``(N,)`` integers in ``[0, len(classes))``, -1 for an image without one; or None.
        classes: class names; None names the classes by their numbers.
        files: the files behind the array, for :meth:`identity`.
        part: which images of these files the array holds, where they hold others too.
    """

    def __init__(
        self,
        location: str,
        images: NDArray[np.uint8],
        labels: NDArray[np.integer] | None,
        classes: tuple[str, ...] | None,
        files: Iterable[Path],
        part: str = "",
        notes: tuple[str, ...] = (),
    ) -> None:
        check_images(location, images.dtype, images.shape)
        self.location = location
        self.notes = notes
        self._images = images[..., 0] if images.ndim == 4 and images.shape[3] == 1 else images
        self._files = sorted(files)
        self._part = part
        if labels is None:
            self.labels = np.full(len(images), UNLABELLED, dtype=np.int64)
            return
        if labels.size and labels.dtype.kind not in "iu":
            raise DataError(f"{location}: labels have type {labels.dtype}; they must be integers")
        if labels.size != len(images):
            raise DataError(f"{location}: {len(images)} images but {labels.size} labels; one label per image")
        given = labels.reshape(-1)
        largest, smallest = (int(given.max()), int(given.min())) if given.size else (-1, 0)
        if classes is None and largest >= MOST_EMPTY + 16 * len(images):
            raise DataError(
                f"{location}: label {largest} of {len(images):,} images leaves most classes without any; labels must "
                "count classes from 0"
            )
        self.classes = classes or tuple(map(str, range(largest + 1)))
        check_names(location, self.classes)
        if smallest < UNLABELLED or largest >= len(self.classes):  # as they are given: int64 holds no largest uint64
            first = int(np.flatnonzero((given < UNLABELLED) | (given >= len(self.classes)))[0])
            raise DataError(
                f"{location}: label {given[first]} of image {first} is outside 0 ... {len(self.classes) - 1}; "
                "labels count from 0 and index the class names; -1 is no label"
            )
        self.labels = given.astype(np.int64)

    def identity(self) -> str:
        return f"{file_identity(self._files)} {self._part}"

    def name(self, index: int) -> str:
        return f"{self.location}[{index}]"

    def header(self, index: int) -> tuple[str, tuple[int, int]]:
        height, width = self._images.shape[1:3]
        check_size((width, height))
        return ("RGB" if self._images.ndim == 4 else "L"), (width, height)

    def read(self, index: int) -> Image.Image:
        self.header(index)
        return Image.fromarray(self._images[index])


def check_images(location: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    """Refuse arrays that are no images.

    Raises:
        DataError: another type than uint8, or a shape other than ``(N, H, W)``, ``(N, H, W, 1)`` or ``(N, H, W, 3)``.
    """
    if dtype != np.uint8 or len(shape) not in (3, 4) or (len(shape) == 4 and shape[3] not in (1, 3)):
        raise DataError(
            f"{location}: images have type {dtype} and shape {shape}; "
            "they must be uint8 of shape (N, H, W) or (N, H, W, 3)"
        )


def check_names(location: str, names: Sequence[str]) -> None:
    """Refuse class names that cannot be told from each other, written down or shown on one line.

    Raises:
        DataError: an empty name, one with control characters, or one that is given twice.
    """
    if not is_printable("".join(names)):
        odd = next(name for name in names if not is_printable(name))
        raise DataError(
            f"{location}: class name {excerpt(odd, 60)!r} holds characters that control a terminal or are no text; "
            "rename it"
        )
    if "" in names:
        raise DataError(f"{location}: class {names.index('')} has an empty name; every class must have one")
    if len(set(names)) < len(names):
        repeated = next(name for name, count in Counter(names).items() if count > 1)
        raise DataError(f"{location}: class name {excerpt(repeated, 60)!r} is given more than once; names must differ")


def label_identity(labels: Labels, classes: Iterable[str]) -> str:
    """Hash of labels and class names, for sources where files alone do not decide them."""
    return hashlib.sha256(labels.tobytes() + "\0".join(classes).encode()).hexdigest()


def file_identity(files: Iterable[Path | str]) -> str:
    """Hash of the files' paths, sizes and modification times; a dangling link counts as an empty file.

    Args:
        files: absolute paths as text where there are many: to make a ``Path`` takes longer than to look at a file.
    """
    digest = hashlib.sha256()
    for file in files:
        path = file if isinstance(file, str) else str(file.absolute())
        try:
            status = os.stat(path)  # noqa: PTH116
            size, time = status.st_size, status.st_mtime_ns
        except OSError:
            size = time = 0
        digest.update(os.fsencode(path) + f"\0{size}\0{time}\n".encode())
    return digest.hexdigest()
