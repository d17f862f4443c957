"""Where inputs are put for readers of files, several files as one input, and how what was opened is looked at."""

from __future__ import annotations

import atexit
import shutil
import struct
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np

from ctfgan.core.errors import DataError
from ctfgan.data.images import MAX_PIXELS, square
from ctfgan.data.sources.base import ImageSource
from fuzz.judging import check, is_clean

LOOKED_AT = 2
"""Images of an accepted input that are decoded."""
IN_MEMORY = Path("/dev/shm")


@cache
def workspace() -> Path:
    """A folder of this process, in memory where the system has such a place."""
    folder = Path(tempfile.mkdtemp(prefix="fuzz-", dir=IN_MEMORY if IN_MEMORY.is_dir() else None))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def put(name: str, content: bytes) -> Path:
    """A new file; in a folder, what was mapped from an old one of this name stays whole."""
    path = workspace() / name
    if "/" in name:
        path.parent.mkdir(exist_ok=True)
        path.unlink(missing_ok=True)
    path.write_bytes(content)
    return path


def put_files(folder: str, names: Sequence[str], content: bytes) -> Path:
    """A folder with the files of :func:`joined`; an empty one is left out."""
    for name, part in zip(names, parted(content, len(names)), strict=True):
        put(f"{folder}/{name}", part)
        if not part:
            (workspace() / folder / name).unlink()
    return workspace() / folder


def joined(parts: Sequence[bytes]) -> bytes:
    """Several files as one input."""
    return b"".join(struct.pack("<I", len(part)) + part for part in parts)


def parted(content: bytes, count: int) -> list[bytes]:
    """The files of an input, which may be cut off."""
    parts = []
    for _ in range(count):
        size = int.from_bytes(content[:4], "little")
        parts.append(content[4 : 4 + size])
        content = content[4 + size :]
    return parts


def look_at(source: ImageSource) -> None:
    """Use a source as training would, and compare what it says in different places."""
    count, classes = len(source.labels), list(source.classes)
    check(count > 0, "no images")
    labels = np.asarray(source.labels)
    check(labels.dtype == np.int64 and labels.ndim == 1, "labels are no list of int64")
    check(int(labels.min()) >= (0 if classes else -1), "a negative label")
    check(int(labels.max()) < max(len(classes), 0 if classes else 1), "a label beyond the classes")
    check(len(set(classes)) == len(classes), "a class name twice")
    for name in classes[:1000]:
        check(isinstance(name, str) and name != "" and is_clean(name), "a class name that cannot be shown")
    check(all(is_clean(note) for note in source.notes), "a note that cannot be shown")
    check(isinstance(source.identity(), str), "no identity")
    for index in {*range(min(count, LOOKED_AT)), count - 1}:
        check(is_clean(source.name(index)), "an image's name that cannot be shown")
        try:
            size = source.header(index)[1]
        except (DataError, OSError) as error:
            check(len(str(error).splitlines()) <= 1, "a reason of several lines")
            size = None
        try:
            image = source.read(index)
            small = square(image, 8, 1, "crop")
        except (DataError, OSError, ValueError) as error:
            check(len(str(error).splitlines()) <= 1, "a reason of several lines")
            continue
        check(small.shape == (8, 8, 1), "a wrong shape")
        check(size is None or image.size == size, "header and image differ in size")
        check(min(image.size) >= 4 and image.width * image.height <= MAX_PIXELS, "a size outside the limits")
