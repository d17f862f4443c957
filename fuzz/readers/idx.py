"""MNIST's idx files, plain and gzipped, images with labels beside them."""

from __future__ import annotations

import gzip
import struct
import zlib
from random import Random

import numpy as np

from ctfgan.data.sources.registry import open_source
from fuzz.changes import changed_bytes, number
from fuzz.judging import Reader, check
from fuzz.places import joined, look_at, parted, put_files

PLAIN = ("t-images-idx3-ubyte", "t-labels-idx1-ubyte")


def seeds() -> list[bytes]:
    """The flag for gzip, images, labels."""
    images = np.random.default_rng(0).integers(0, 256, (5, 6, 7), dtype=np.uint8)
    labels = np.array([0, 2, 1, 0, 1], dtype=np.uint8)
    pair = [_idx(images), _idx(labels)]
    return [
        joined([b"", *pair]),
        joined([b"z", *(gzip.compress(part, mtime=0) for part in pair)]),
        joined([b"", pair[0], b""]),
        joined([b"z", gzip.compress(_idx(np.zeros((9, 30, 30), np.uint8)), mtime=0), b""]),
    ]


def change(content: bytes, rng: Random) -> bytes:
    """A field of a header set, before packing or after, or bytes changed."""
    flag, *parts = parted(content, 3)
    which = rng.randrange(2)
    part, zipped = parts[which], flag == b"z" and rng.random() < 0.7
    try:
        part = gzip.decompress(part) if zipped else part
    except (OSError, EOFError, zlib.error):
        zipped = False
    if rng.random() < 0.5:
        at = rng.choice((0, 2, 3, 4, 8, 12))
        size = 4 if at >= 4 else 1
        part = part[:at] + (number(rng) % 256**size).to_bytes(size, "big") + part[at + size :]
    else:
        part = changed_bytes(part, rng)
    if zipped and rng.random() < 0.02:
        part = part[:16] + bytes(20_000_000)
    parts[which] = gzip.compress(part, 1, mtime=0) if zipped else part
    return joined([flag, *parts])


def one_input(content: bytes) -> None:
    """Compare with the arrays taken apart by hand."""
    flag, images, labels = parted(content, 3)
    end = ".gz" if flag == b"z" else ""
    folder = put_files(f"idx{end}", [name + end for name in PLAIN], joined([images, labels]))
    source = open_source(str(folder))
    pixels, (count, *shape) = _plain(images, bool(end))
    check(len(pixels) == count * int(np.prod(shape, dtype=object)), "another size than the header says")
    check(len(source.labels) == count, "another number of images")
    if labels:
        check(bytes(source.labels.astype(np.uint8)) == _plain(labels, bool(end))[0], "other labels")
    else:
        check(not source.classes, "labels from nowhere")
    if len(shape) == 2 and min(shape) >= 4:
        check(source.read(count - 1).tobytes() == pixels[-shape[0] * shape[1] :], "other pixels")
    look_at(source)


def _plain(content: bytes, zipped: bool) -> tuple[bytes, list[int]]:
    if zipped:
        plain = b""
        while content.strip(b"\0"):  # members one after the other are one file, zeros after them are padding
            try:
                member = zlib.decompressobj(31)
                plain, content = plain + member.decompress(content, 1 << 25), member.unused_data
            except zlib.error:  # zlib looks at more of the header than Python's reader
                return _plain(gzip.decompress(content), False)
            check(member.eof, "a gzip file that is cut off")
            check(len(plain) < 1 << 25, "a bomb was read")
        content = plain
    ends = 4 + 4 * content[3]
    return content[ends:], [int.from_bytes(content[at : at + 4], "big") for at in range(4, ends, 4)]


def _idx(array: np.ndarray) -> bytes:
    return b"\0\0\x08" + bytes([array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


READER = Reader("idx", seeds, change, one_input)
