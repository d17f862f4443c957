"""Which images are the same, within a set and in two: copies on both sides of a split would flatter figures."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ctfgan.data.images import Bytes
from ctfgan.data.splits import Rows

Digests = NDArray[np.uint64]


def digest(image: Bytes) -> np.uint64:
    """A 64-bit number for the pixels of an image; the same pixels in the same shape have the same number.

    Among 2 million different images, two have the same number with a chance of 1 in 10 million.
    """
    whole = hashlib.blake2b(repr(image.shape).encode(), digest_size=8)
    whole.update(np.ascontiguousarray(image).data)
    return np.frombuffer(whole.digest(), dtype=np.uint64)[0]


def digests_of(images: Bytes) -> Digests:
    """The number of each of some images, ``(N,)``."""
    return np.array([digest(image) for image in images], dtype=np.uint64)


def repeats(digests: Digests) -> Iterator[Rows]:
    """Rows of the same image, one ascending array for each that occurs more than once."""
    values = np.sort(digests)  # several times as fast as sorting rows by them, and mostly enough
    if (values[1:] != values[:-1]).all():
        return
    order = np.argsort(digests, kind="stable")
    values = digests[order]
    starts = np.flatnonzero(np.concatenate([[True], values[1:] != values[:-1]]))
    lengths = np.diff(np.append(starts, len(values)))
    for start, length in zip(starts[lengths > 1], lengths[lengths > 1], strict=True):
        yield order[start : start + length]


def first_rows(digests: Digests) -> Rows:
    """For each image the row of the first one with its pixels, ``(N,)``: its own row, but for copies."""
    firsts = np.arange(len(digests))
    for copies in repeats(digests):
        firsts[copies] = copies[0]
    return firsts


def shared_rows(images: Digests, others: Digests) -> Rows:
    """Rows of the images that are among the others, too."""
    others = np.sort(others)  # several times as fast as np.isin where these are many
    return np.flatnonzero(np.searchsorted(others, images, "left") < np.searchsorted(others, images, "right"))
