"""What every format reader offers; the rest of the program sees nothing else of a format."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ctfgan.data.images import check_size
from ctfgan.errors import DataError

Labels = NDArray[np.int64]
UNLABELLED = -1


class ImageSource(Protocol):
    """A set of images, opened but not decoded."""

    location: str
    """What the user called it, for messages."""
    labels: Labels
    """Label of each image; -1 for an image without one."""
    notes: tuple[str, ...]
    """What was passed over, one sentence each."""

    @property
    def classes(self) -> Sequence[str]:
        """Class names in label order; empty if the images have no labels."""
        ...

    def identity(self) -> str:
        """A string that changes whenever the images may have changed."""
        ...

    def name(self, index: int) -> str:
        """How to call image ``index`` in a message."""
        ...

    def header(self, index: int) -> tuple[str, tuple[int, int]]:
        """Mode and (width, height), without decoding; raises DataError or OSError if unreadable."""
        ...

    def read(self, index: int) -> Image.Image:
        """The decoded image; raises DataError, OSError or ValueError if it is damaged."""
        ...


class ArraySource:
    """Images that are already an array, in memory or memory-mapped: npz, idx, CIFAR and STL-10 files end here.

    Args:
        images: uint8 ``(N, H, W)`` or ``(N, H, W, 3)``.
        labels: ``(N,)`` integers in ``[0, len(classes))``, or None.
        classes: class names; None names the classes by their numbers.
        files: the files behind the array, for :meth:`identity`.
        part: which images of these files the array holds, where they hold others too.
        notes: what was passed over.
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
        if images.ndim == 4 and images.shape[3] == 1:
            images = images[..., 0]
        if images.dtype != np.uint8 or images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[3] != 3):
            raise DataError(
                f"{location}: images have type {images.dtype} and shape {images.shape}; "
                "they must be uint8 of shape (N, H, W) or (N, H, W, 3)"
            )
        self.location = location
        self.notes = notes
        self._images = images
        self._files = sorted(files)
        self._part = part
        if labels is None:
            self.labels: Labels = np.full(len(images), UNLABELLED, dtype=np.int64)
            self.classes: tuple[str, ...] = ()
            return
        self.labels = labels.astype(np.int64).reshape(-1)
        if len(self.labels) != len(images):
            raise DataError(f"{location}: {len(images)} images but {len(self.labels)} labels; one label per image")
        self.classes = classes or tuple(str(number) for number in range(int(self.labels.max(initial=-1)) + 1))
        repeated = [name for name, count in Counter(self.classes).items() if count > 1]
        if repeated:
            raise DataError(f"{location}: class name {repeated[0]!r} is given more than once; names must differ")
        outside = (self.labels < 0) | (self.labels >= len(self.classes))
        if outside.any():
            first = int(np.flatnonzero(outside)[0])
            raise DataError(
                f"{location}: label {self.labels[first]} of image {first} is outside 0 ... {len(self.classes) - 1}; "
                "labels count from 0 and index the class names"
            )

    def identity(self) -> str:
        return f"{file_identity(self._files)} {self._part}"

    def name(self, index: int) -> str:
        return f"{self.location}[{index}]"

    def header(self, index: int) -> tuple[str, tuple[int, int]]:
        height, width = self._images.shape[1:3]
        check_size((width, height))
        return ("RGB" if self._images.ndim == 4 else "L"), (width, height)

    def read(self, index: int) -> Image.Image:
        return Image.fromarray(self._images[index])


def label_identity(labels: Labels, classes: Iterable[str]) -> str:
    """Hash of labels and class names, for sources where files alone do not decide them."""
    return hashlib.sha256(labels.tobytes() + "\0".join(classes).encode()).hexdigest()


def file_identity(files: Iterable[Path]) -> str:
    """Hash of the files' paths, sizes and modification times; a dangling link counts as an empty file."""
    digest = hashlib.sha256()
    for file in files:
        size = time = 0
        if file.exists():
            status = file.stat()
            size, time = status.st_size, status.st_mtime_ns
        digest.update(os.fsencode(file.absolute()) + f"\0{size}\0{time}\n".encode())
    return digest.hexdigest()
