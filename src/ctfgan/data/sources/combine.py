"""Sources made of other sources: several as one, or some images of one. Classes are matched by name."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Collection, Sequence

import numpy as np
from PIL import Image

from ctfgan.core.errors import DataError
from ctfgan.core.text import a_few, plural
from ctfgan.data.sources.base import UNLABELLED, Groups, ImageSource, Labels, label_identity


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
    """Several sources one after the other; their classes are united by name, in order of first appearance.

    Args:
        location: what the user called the whole.
        sources: at least one.
        notes: sentences to put before those of the sources.
    """

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

    def origin(self, index: int) -> tuple[ImageSource, int]:
        number = bisect_right(self._starts, index) - 1
        return self._sources[number], index - self._starts[number]


class ChosenSource(CombinedSource):
    """Some images of a source.

    Args:
        source: where they come from.
        rows: their indices in it.
        labels: their new labels, which index ``classes``.
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
    """The same images, labelled in the numbering of ``classes``.

    Args:
        source: labelled images; it need not have all the classes.
        classes: the numbering.
        whose: where the classes come from, for the message.

    Raises:
        DataError: images of a class that is not among ``classes``.
    """
    labels = renumbered(source, classes)
    unknown = [source.classes[label] for label in np.unique(source.labels[labels == UNLABELLED])]
    if unknown:
        raise DataError(
            f"{source.location} holds classes that {whose} lacks ({a_few([*map(repr, unknown)])}); use the same class "
            "names, or take these images out"
        )
    return ChosenSource(source, np.arange(len(labels)), labels, classes)
