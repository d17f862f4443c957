"""Which image is of which class: arrays on disk that open at once, however many images and classes there are.

The files beside ``images.npy``, for N images, L of them labelled, of C classes:

    labels.npy        int64 (N,)    the label of each image, -1 without one
    order.npy         int64 (L,)    rows of the labelled images, sorted by label, then by row
    offsets.npy       int64 (C+1,)  images of class c: order[offsets[c]:offsets[c+1]]
    names.npy         uint8         all class names in UTF-8, end to end
    name_offsets.npy  int64 (C+1,)  name of class c: names[name_offsets[c]:name_offsets[c+1]]
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
from numpy.typing import DTypeLike, NDArray

from ctfgan.core.errors import DataError
from ctfgan.core.text import excerpt, is_printable
from ctfgan.data.sources.base import UNLABELLED, Labels

LABELS = "labels.npy"
ORDER = "order.npy"
OFFSETS = "offsets.npy"
NAMES = "names.npy"
NAME_OFFSETS = "name_offsets.npy"


class ClassNames(Sequence[str]):
    """Class names in label order; each is decoded when it is asked for.

    Args:
        text: uint8, all names in UTF-8, end to end.
        offsets: int64 ``(C+1,)``, where in ``text`` each name begins, and the end.
    """

    def __init__(self, text: NDArray[np.uint8], offsets: NDArray[np.int64]) -> None:
        # Plain views: numpy's class for mapped files makes every access several times as slow.
        self._text = np.asarray(text)
        self._offsets = np.asarray(offsets)

    @property
    def text(self) -> NDArray[np.uint8]:
        """All names in UTF-8, end to end."""
        return self._text

    @property
    def offsets(self) -> NDArray[np.int64]:
        """``(C+1,)``: where in the text of all names each begins, and the end."""
        return self._offsets

    def __len__(self) -> int:
        return len(self._offsets) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[str, ...]: ...
    def __getitem__(self, index: int | slice) -> str | tuple[str, ...]:
        if isinstance(index, slice):
            return tuple(self[number] for number in range(*index.indices(len(self))))
        number = range(len(self))[index]  # negative numbers count from the end; too large ones are refused
        return self._text[self._offsets[number] : self._offsets[number + 1]].tobytes().decode()

    def __iter__(self) -> Iterator[str]:
        return iter(self.all())

    def __eq__(self, other: object) -> bool:
        if isinstance(other, ClassNames):
            return np.array_equal(self._offsets, other._offsets) and np.array_equal(self._text, other._text)
        return self.all() == other

    __hash__ = None  # type: ignore[assignment]

    @classmethod
    def of(cls, names: Sequence[str]) -> ClassNames:
        """The same names, in memory unless they are :class:`ClassNames` already."""
        if isinstance(names, ClassNames):
            return names
        encoded = [name.encode() for name in names]
        lengths = np.array([len(name) for name in encoded], dtype=np.int64)
        return cls(np.frombuffer(b"".join(encoded), dtype=np.uint8), _starts(lengths))

    def followed_by(self, names: Sequence[str]) -> ClassNames:
        """These names and then others, in memory."""
        more = ClassNames.of(names)
        ends = self._offsets[-1] + more.offsets[1:]
        return ClassNames(np.concatenate([self._text, more.text]), np.concatenate([self._offsets, ends]))

    def any_contains(self, letter: str) -> bool:
        """Whether an ASCII character occurs in some name."""
        return bool((self._text == ord(letter)).any())

    def are_fit(self) -> bool:
        """Whether names are distinct texts for one line, as ``check_names`` asks of others; none is decoded alone."""
        try:
            whole = self._text.tobytes().decode()
        except UnicodeDecodeError:
            return False
        lengths, starts = np.diff(self._offsets), self._offsets[:-1]
        inside = (self._text[starts[lengths > 0]] & 0xC0) == 0x80  # a name that begins within a character
        if not is_printable(whole) or (lengths < 1).any() or inside.any():
            return False
        for length in np.unique(lengths):
            alike = self._text[starts[lengths == length][:, None] + np.arange(length)]
            if len(np.unique(alike.view(f"V{length}"))) < len(alike):
                return False
        return True

    def are_numbers(self) -> bool:
        """Whether all names are written in the digits 0 to 9."""
        return bool(((self._text >= ord("0")) & (self._text <= ord("9"))).all())

    def all(self) -> tuple[str, ...]:
        """Every name, decoded in one go."""
        text = self._text.tobytes()
        ends = self._offsets.tolist()
        return tuple(text[start:end].decode() for start, end in itertools.pairwise(ends))


@dataclass(frozen=True)
class Manifest:
    """Labels, the images of each class, and the names of the classes, all memory-mapped."""

    labels: Labels
    """``(N,)`` int64; -1 without a label."""
    order: NDArray[np.int64]
    """Rows of the labelled images, sorted by label, then by row."""
    offsets: NDArray[np.int64]
    """``(C+1,)``; where in ``order`` each class begins, and the end."""
    names: ClassNames
    """C class names in label order."""

    def rows_of(self, label: int) -> NDArray[np.int64]:
        """Rows of the images of a class, ascending; a view of the file, whatever the numbers of images and classes."""
        return self.order[self.offsets[label] : self.offsets[label + 1]]

    def rows_of_all(self, labels: Labels) -> NDArray[np.int64]:
        """Rows of the images of several classes, class after class."""
        starts, ends = self.offsets[labels], self.offsets[labels + 1]
        counts = ends - starts
        places = np.repeat(starts - (np.cumsum(counts) - counts), counts) + np.arange(counts.sum())
        return self.order[places]

    def counts(self) -> NDArray[np.int64]:
        """Images of each class, ``(C,)``."""
        return np.diff(self.offsets)


def check_manifest(manifest: Manifest, folder: Path) -> None:
    """Compare the arrays with each other, entry by entry; :func:`open_manifest` looks at their sizes alone.

    Args:
        manifest: of images that anybody may have packed.
        folder: where the arrays are.

    Raises:
        DataError: labels beyond the classes, rows that are not those of a class, or names that are no names.
    """
    labels = manifest.labels
    _check_starts(manifest.offsets, folder / OFFSETS)
    _check_starts(manifest.names.offsets, folder / NAME_OFFSETS)
    if len(labels) and (labels.min() < UNLABELLED or labels.max() >= len(manifest.names)):
        raise damaged(folder / LABELS, f"labels outside -1 ... {len(manifest.names) - 1}")
    if not np.array_equal(_counts(labels, len(manifest.names)), manifest.counts()):
        raise damaged(folder / OFFSETS, f"it does not count the labels of {LABELS}")
    if not np.array_equal(manifest.order, _order(labels, len(manifest.order))):
        raise damaged(folder / ORDER, "rows that are not those of the classes")
    if not manifest.names.are_fit():
        raise damaged(folder / NAMES, "names that are empty, given twice, no UTF-8, or control a terminal")


def _check_starts(offsets: NDArray[np.int64], path: Path) -> None:
    if offsets[0] != 0 or (np.diff(offsets) < 0).any():
        raise damaged(path, "its numbers do not ascend from 0")


def write_manifest(folder: Path, labels: Labels, classes: Sequence[str]) -> None:
    """Write the five arrays into a folder.

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
    np.save(folder / OFFSETS, _starts(counts))
    np.save(folder / NAMES, names.text)
    np.save(folder / NAME_OFFSETS, names.offsets)


def open_manifest(folder: Path, images: int, classes: int) -> Manifest:
    """Memory-map the arrays of a folder; nothing is read but their headers and ends.

    Raises:
        DataError: an array is missing, damaged, or does not fit the numbers of images and classes.
    """
    offsets = open_array(folder / OFFSETS, np.int64, (classes + 1,))
    name_offsets = open_array(folder / NAME_OFFSETS, np.int64, (classes + 1,))
    labelled, letters = int(offsets[-1]), int(name_offsets[-1])
    if labelled < 0 or letters < 0:
        raise damaged(folder / (OFFSETS if labelled < 0 else NAME_OFFSETS), "it ends with a negative number")
    return Manifest(
        labels=open_array(folder / LABELS, np.int64, (images,)),
        order=open_array(folder / ORDER, np.int64, (labelled,)),
        offsets=offsets,
        names=ClassNames(open_array(folder / NAMES, np.uint8, (letters,)), name_offsets),
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


def _order(labels: Labels, labelled: int) -> NDArray[np.int64]:
    """Rows of the labelled images, sorted by label, then by row; those without a label would come first."""
    return np.argsort(labels, kind="stable")[len(labels) - labelled :].astype(np.int64)


def _starts(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
