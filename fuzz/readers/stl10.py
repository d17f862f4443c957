"""STL-10's binary files."""

from __future__ import annotations

from random import Random

import numpy as np

from ctfgan.data.sources.registry import open_source
from fuzz.changes import changed_bytes
from fuzz.judging import Reader, check
from fuzz.places import joined, look_at, parted, put_files

NAMES = ("train_X.bin", "train_y.bin", "class_names.txt")
IMAGE = 3 * 96 * 96


def seeds() -> list[bytes]:
    """Two images with and without names."""
    pixels = np.random.default_rng(0).bytes(2 * IMAGE)
    return [joined([pixels, b"\x01\x02", b"plane\nbird\n"]), joined([pixels, b"\x02\x01", b""])]


def change(content: bytes, rng: Random) -> bytes:
    """Bytes of one file changed, labels and names rather than pixels."""
    parts = parted(content, 3)
    which = rng.choice((0, 1, 1, 1, 2, 2, 2))
    if which == 0:
        parts[0] = parts[0][: rng.choice((0, 1, IMAGE - 1, IMAGE, IMAGE + 1, 2 * IMAGE - 1))] + bytes(
            rng.choice((0, 1, IMAGE))
        )
    else:
        parts[which] = changed_bytes(parts[which], rng)
    return joined(parts)


def one_input(content: bytes) -> None:
    """Compare with the bytes."""
    pixels, numbers, names = parted(content, 3)
    source = open_source(str(put_files("stl10", NAMES, content)))
    check(len(source.labels) * IMAGE == len(pixels) and len(numbers) == len(source.labels), "another number of images")
    check(bytes(source.labels.astype(np.uint8) + 1) == numbers, "other labels")
    told = "".join(names.decode().split())  # blank as Python means it: more than the six bytes of ASCII
    check(not told or "".join(source.classes) == told, "other names")
    column = bytes(np.asarray(source.read(0))[:, 0, 0])
    check(column == pixels[:96], "other pixels")
    look_at(source)


READER = Reader("stl10", seeds, change, one_input)
