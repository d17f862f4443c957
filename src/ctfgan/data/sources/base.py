"""What every format reader offers; the rest of the program sees nothing else of a format.

Sources can be joined, and some of their images chosen; classes are matched by name.
"""

from __future__ import annotations

import hashlib
import os
import re
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ctfgan.core.errors import DataError
from ctfgan.core.text import a_few, excerpt, is_printable, plural

Labels = NDArray[np.int64]
UNLABELLED = -1

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

    def load(self) -> None:  # noqa: B027 (nothing, in most)
        """Read what has to be in memory before images are decoded; a set that is packed already never needs it.

        Raises:
            DataError: it is damaged.
        """

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


class CombinedSource(ImageSource):
    """Images that lie in other sources."""

    @abstractmethod
    def origin(self, index: int) -> tuple[ImageSource, int]:
        """The source of an image, and its index there."""

    def name(self, index: int) -> str:
        source, inner = self.origin(index)
        return source.name(inner)

    def header(self, index: int) -> tuple[str, tuple[int, int]]:
        source, inner = self.origin(index)
        return source.header(inner)

    def read(self, index: int) -> Image.Image:
        source, inner = self.origin(index)
        return source.read(inner)

    def reader(self, index: int) -> Callable[[], Image.Image]:
        source, inner = self.origin(index)
        return source.reader(inner)


class JoinedSource(CombinedSource):
    """At least one source, one after the other; their classes are united by name, in order of first appearance."""

    def __init__(self, location: str, sources: Sequence[ImageSource], notes: tuple[str, ...] = ()) -> None:
        self.location = location
        self.classes = tuple(dict.fromkeys(name for source in sources for name in source.classes))
        self.labels = np.concatenate([renumbered(source, self.classes) for source in sources])
        self.notes = notes + tuple(note for source in sources for note in source.notes)
        self.is_concurrent = all(source.is_concurrent for source in sources)
        self._sources = sources
        self._starts = np.cumsum([0, *(len(source.labels) for source in sources)]).tolist()

    def identity(self) -> str:
        return " + ".join(source.identity() for source in self._sources)

    def load(self) -> None:
        for source in self._sources:
            source.load()

    def origin(self, index: int) -> tuple[ImageSource, int]:
        number = bisect_right(self._starts, index) - 1
        return self._sources[number], index - self._starts[number]


class ChosenSource(CombinedSource):
    """Some images of a source, with new labels.

    Args:
        source: where they come from.
        rows: their indices in it.
        labels: one for each row, into ``classes``.
        classes: the new class names.
        notes: sentences to put after those of the source.
    """

    def __init__(
        self, source: ImageSource, rows: Labels, labels: Labels, classes: Sequence[str], notes: tuple[str, ...] = ()
    ) -> None:
        self.location = source.location
        self.classes = classes
        self.labels = labels
        self.notes = source.notes + notes
        self.groups = source.groups and Groups(source.groups.numbers[rows], source.groups.names)
        self.is_concurrent = source.is_concurrent
        self._source = source
        self._rows = rows

    def identity(self) -> str:
        chosen = hashlib.sha256(self._rows.tobytes()).hexdigest()
        return f"{self._source.identity()} chosen {chosen} {label_identity(self.labels, self.classes)}"

    def load(self) -> None:
        self._source.load()

    def origin(self, index: int) -> tuple[ImageSource, int]:
        return self._source, int(self._rows[index])


def renumbered(source: ImageSource, classes: Sequence[str]) -> Labels:
    """The labels of a source in the numbering of ``classes``; -1 for images of other classes and without a label."""
    number = {name: index for index, name in enumerate(classes)}
    new = [number.get(name, UNLABELLED) for name in source.classes]
    return np.array([*new, UNLABELLED], dtype=np.int64)[source.labels]  # the last entry is found by -1


def labelled_only(source: ImageSource) -> ImageSource:
    """The labelled images of a source; all of them if none has a label."""
    if not source.classes or (source.labels != UNLABELLED).all():
        return source
    rows = np.flatnonzero(source.labels != UNLABELLED)
    count = len(source.labels) - len(rows)
    note = f"{plural(count, 'image without a label is', 'images without a label are')} unused"
    return ChosenSource(source, rows, source.labels[rows], source.classes, (note,))


def of_classes(source: ImageSource, wanted: Collection[str], notes: tuple[str, ...] = ()) -> ImageSource:
    """The images of the wanted classes; classes that the source lacks are not missed."""
    wanted = frozenset(wanted)
    kept = tuple(name for name in source.classes if name in wanted)
    labels = renumbered(source, kept)
    rows = np.flatnonzero(labels != UNLABELLED)
    return ChosenSource(source, rows, labels[rows], kept, notes)


def with_classes(source: ImageSource, classes: Sequence[str], whose: str) -> ImageSource:
    """The same labelled images in the numbering of ``classes``, of which they need not have all.

    Raises:
        DataError: images of a class that is not among ``classes``, which the message calls those of ``whose``.
    """
    labels = renumbered(source, classes)
    unknown = [source.classes[label] for label in np.unique(source.labels[labels == UNLABELLED])]
    if unknown:
        raise DataError(
            f"{source.location} holds classes that {whose} lacks ({a_few([*map(repr, unknown)])}); use the same class "
            "names, or take these images out"
        )
    return ChosenSource(source, np.arange(len(labels)), labels, classes)
