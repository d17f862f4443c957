"""Images that are arrays, and their labels; .npz files, as people and MedMNIST write them."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ctfgan.core.errors import DataError
from ctfgan.core.text import excerpt, printable
from ctfgan.data.images import check_size
from ctfgan.data.npz import NpzArray, NpzFile
from ctfgan.data.sources.base import (
    TEST,
    TRAIN,
    UNLABELLED,
    VALIDATION,
    WHOLE,
    ImageSource,
    Opener,
    check_names,
    file_identity,
    part_location,
)
from ctfgan.data.sources.columns import LABEL_SETTING, Columns, numbered, text_labels

MOST_EMPTY = 10_000
"""Classes that a few images may leave empty where labels alone say how many there are."""

IMAGE_WORDS = ("images", "x")
LABEL_WORDS = ("labels", "label", "y", "targets")
SPLIT_WORDS = {TRAIN: ("train",), VALIDATION: ("val", "valid", "validation"), TEST: ("test",)}
CLASS_KEYS = ("classes", "class_names", "class_name", "char")

LARGEST_FLOAT = 2.0**53
"""Whole numbers beyond it are no exact floats."""


class ArraySource(ImageSource):
    """Images that are already an array, in memory or memory-mapped: npz, idx, CIFAR and STL-10 files end here.

    Args:
        images: uint8 ``(N, H, W)`` or ``(N, H, W, 3)``; of an archive they are read when one of them is asked for.
        labels: ``(N,)`` integers in ``[0, len(classes))``, -1 for an image without one; or None.
        classes: class names; None names the classes by their numbers.
        files: the files behind the array, for :meth:`identity`.
        part: which images of these files the array holds, where they hold others too.
    """

    def __init__(
        self,
        location: str,
        images: NDArray[np.uint8] | NpzArray,
        labels: NDArray[np.integer] | None,
        classes: tuple[str, ...] | None,
        files: Iterable[Path],
        part: str = "",
        notes: tuple[str, ...] = (),
    ) -> None:
        check_images(location, images.dtype, images.shape)
        count = images.shape[0]
        self.location = location
        self.notes = notes
        self._images = images
        self._shape = images.shape[:3] if images.shape[3:] == (1,) else images.shape
        self._files = sorted(files)
        self._part = part
        if labels is None:
            self.labels = np.full(count, UNLABELLED, dtype=np.int64)
            return
        if labels.size and labels.dtype.kind not in "iu":
            raise DataError(f"{location}: labels have type {labels.dtype}; they must be integers")
        if labels.size != count:
            raise DataError(f"{location}: {count} images but {labels.size} labels; one label per image")
        given = labels.reshape(-1)
        largest, smallest = (int(given.max()), int(given.min())) if given.size else (-1, 0)
        if classes is None and largest >= MOST_EMPTY + 16 * count:
            raise DataError(
                f"{location}: label {largest} of {count:,} images leaves most classes without any; labels must "
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

    def load(self) -> None:
        if isinstance(self._images, NpzArray):
            self._images = self._images.read()

    def name(self, index: int) -> str:
        return f"{self.location}[{index}]"

    def header(self, index: int) -> tuple[str, tuple[int, int]]:
        height, width = self._shape[1:3]
        check_size((width, height))
        return ("RGB" if len(self._shape) == 4 else "L"), (width, height)

    def read(self, index: int) -> Image.Image:
        self.header(index)
        self.load()
        assert not isinstance(self._images, NpzArray), "it is read"
        return Image.fromarray(self._images[index].reshape(self._shape[1:]))


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


def npz_parts(path: Path, columns: Columns) -> dict[str, Opener]:
    """An ``.npz`` with ``images`` (uint8), ``labels`` and, if the classes have names, ``classes``.

    ``x``/``y``, ``x_train``/``y_train`` and MedMNIST's ``train_images``/``train_labels`` are accepted too. If there are
    ``x_test`` or ``x_val`` (``images_test``, ``test_images``; with labels called alike), they are parts of their own,
    and the others are the training part. Upper case does not matter.
    """
    file = NpzFile(path)
    plain, of_train = (columns.image,) if columns.image else IMAGE_WORDS, _keys(TRAIN, columns.image, IMAGE_WORDS)
    images = {TRAIN: _present(file, (*plain, *of_train))}
    images |= {split: _present(file, _keys(split, columns.image, IMAGE_WORDS)) for split in (VALIDATION, TEST)}
    there = {split: keys[0] for split, keys in images.items() if keys}
    if TRAIN not in there:
        held = excerpt(", ".join(file.names)) if file.names else "no arrays"
        named = " or ".join(plain if columns.image else (*IMAGE_WORDS, "x_train"))
        raise DataError(f"{path} holds {held}; it needs an array named {named} (data.image_column names another)")
    if len(there) == 1:
        return {WHOLE: partial(_open_npz, path, WHOLE, there[TRAIN], columns)}
    return {split: partial(_open_npz, path, split, key, columns) for split, key in there.items()}


def _keys(split: str, choice: str | None, words: tuple[str, ...]) -> tuple[str, ...]:
    """What the arrays of a part may be called: ``images_test`` and ``test_images`` for the word images."""
    both = [(word, part) for word in ((choice,) if choice else words) for part in SPLIT_WORDS[split]]
    return tuple(f"{word}_{part}" for word, part in both) + tuple(f"{part}_{word}" for word, part in both)


def _present(file: NpzFile, keys: Sequence[str]) -> list[str]:
    """Those of some keys that an archive has, in their order, as it spells them."""
    spelt = {name.lower(): name for name in file.names} | {name: name for name in file.names}
    return list(dict.fromkeys(spelt[key] for key in keys if key in spelt))


def _open_npz(path: Path, split: str, of_images: str, columns: Columns) -> ImageSource:
    location, file = part_location(path, split), NpzFile(path)
    images = file.array(of_images)
    check_images(location, images.dtype, images.shape)
    count = images.shape[0]
    of_labels, note = _label_key(location, file, split, of_images, count, columns.label)
    of_classes = next((key for key in _present(file, CLASS_KEYS) if key != of_labels), None)
    labels = None if of_labels is None else file.read(of_labels)
    classes = None if of_classes is None else _names(location, file.read(of_classes))
    notes = (printable(note),) if note else ()
    if labels is None:
        return ArraySource(location, images, None, classes, [path], split, notes)
    numbers, names = _plain_labels(location, labels, count, classes)
    return ArraySource(location, images, numbers, names, [path], split, notes)


def _label_key(
    location: str, file: NpzFile, split: str, of_images: str, count: int, choice: str | None
) -> tuple[str | None, str]:
    """The array that holds the labels of a part's images, and a sentence where others could be meant.

    Raises:
        DataError: the user named one that is not there.
    """
    part = TRAIN if split == WHOLE else split
    plain = ((choice,) if choice else LABEL_WORDS) if part == TRAIN else ()
    is_plain = of_images.lower() in IMAGE_WORDS
    of_part = _keys(part, choice, LABEL_WORDS)
    named = _present(file, (*plain, *of_part) if is_plain else (*of_part, *plain))
    others = [key for key in file.names if key != of_images and _may_be_labels(file, key, count)]
    if choice is not None and not named:
        raise DataError(
            f"{location} has no array {excerpt(choice, 60)!r} of labels; {LABEL_SETTING} must name one of "
            f"{excerpt(', '.join(others)) or 'none'}"
        )
    if named:
        rest = [key for key in named[1:] if key in others]
        is_open = choice is None and bool(rest)
        note = f"{location}: {excerpt(named[0], 60)} is taken for the labels; {LABEL_SETTING} names another, such as "
        return named[0], f"{note}{excerpt(', '.join(rest))}" if is_open else ""
    instead = [key for key in _present(file, CLASS_KEYS) if key in others]
    if instead and part == TRAIN:  # names of classes mean nothing without labels, so these are the labels
        return instead[0], ""
    if not others:
        return None, ""
    return None, (
        f"{location}: no array is known as the labels, so the images have none (arrays of as many entries: "
        f"{excerpt(', '.join(others))}); {LABEL_SETTING} names one"
    )


def _may_be_labels(file: NpzFile, key: str, count: int) -> bool:
    """Whether an array has an entry, or a short row, for each image."""
    try:
        shape = file.header(key).shape
    except DataError:  # it holds objects, or is damaged; nobody needs it
        return False
    return len(shape) in (1, 2) and shape[0] == count


def _plain_labels(
    location: str, labels: NDArray[Any], count: int, classes: tuple[str, ...] | None
) -> tuple[NDArray[np.integer], tuple[str, ...] | None]:
    """Labels as integers, ``(N,)`` or one for each in another shape, and the class names.

    Integers are taken as they are; whole floats (not-a-number is no label), true and false, rows with one 1 among zeros
    and texts (an empty one is no label) are numbered, -1 where there is no label.

    Raises:
        DataError: values that are none of these.
    """
    kind = labels.dtype.kind
    if labels.ndim == 2 and labels.shape[1] > 1 and len(labels) == count and kind in "iufb":
        is_hot = labels == 1
        odd = np.flatnonzero((is_hot.sum(axis=1) != 1) | (labels != is_hot).any(axis=1))
        if len(odd):
            raise DataError(
                f"{location}: labels have shape {labels.shape}, and row {odd[0]} is not one 1 among zeros; one label "
                f"per image, or {LABEL_SETTING} must name another array"
            )
        if classes is None:
            classes = tuple(map(str, range(labels.shape[1])))
        return is_hot.argmax(axis=1), classes
    if kind == "b":
        return labels.astype(np.int64), classes
    if kind == "f" and labels.size:
        floats = labels.astype(np.float64)  # the limit is no half float
        missing = np.isnan(floats)
        if (odd := np.flatnonzero(~missing & (floats != np.floor(floats)) | (np.abs(floats) > LARGEST_FLOAT))).size:
            raise DataError(
                f"{location}: labels have type {labels.dtype}; they must be integers or whole numbers, and label "
                f"{odd[0]} is {labels.reshape(-1)[odd[0]]}"
            )
        return np.where(missing, UNLABELLED, floats).astype(np.int64), classes
    if kind in "US" and labels.size:
        texts = [text or None for text in _texts(location, labels, "labels")]
        if classes is None or not {*texts} - {None} <= {*classes}:
            names, numbers = numbered(text_labels(texts), None, location)
            return numbers, names
        number = {name: index for index, name in enumerate(classes)}
        return np.array([UNLABELLED if text is None else number[text] for text in texts], dtype=np.int64), classes
    return labels, classes


def _names(location: str, names: NDArray[Any]) -> tuple[str, ...]:
    """Class names from an array of texts, of UTF-8 bytes or of whole numbers."""
    if names.dtype.kind not in "USiu":
        raise DataError(f"{location}: class names have type {names.dtype}; they must be texts")
    return _texts(location, names, "class names")


def _texts(location: str, names: NDArray[Any], what: str) -> tuple[str, ...]:
    """The texts of an array."""
    if names.dtype.kind == "U" and names.nbytes:
        # numpy makes texts of any numbers, even of those that are no characters.
        codes = np.ascontiguousarray(names).reshape(-1).view(np.dtype(np.uint32).newbyteorder(names.dtype.byteorder))
        if codes.max() > sys.maxunicode:
            raise DataError(f"{location}: the {what} are no texts ({codes.max()} is no character); write them anew")
    try:
        values = names.reshape(-1).tolist()
        return tuple(name.decode() if isinstance(name, bytes) else str(name) for name in values)
    except ValueError as error:  # no UTF-8, no Unicode
        raise DataError(f"{location}: the {what} are no texts ({excerpt(error)}); write them as texts") from error
