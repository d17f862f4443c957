"""Who sees which image: seeded, stratified, nested subsets, none of which cuts copies apart (decision 13).

Which images are the same is said here, too: copies on both sides of a split would flatter the figures. Sets of rows are
masks, so that millions of images and classes take seconds.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from ctfgan.data.images import Bytes
from ctfgan.data.sources.base import Labels

Indices = NDArray[np.int64]


def stratified_order(labels: Labels, seed: int, firsts: Indices | None = None) -> Indices:
    """An order of all rows in which every prefix holds nearly the same share of every class.

    Image number j (shuffled) of the n_c images of class c gets the key (j + 1/2) / n_c; rows are sorted by key, ties
    between classes at random. A prefix is therefore a stratified subset, and a longer prefix contains a shorter one.

    Args:
        labels: ``(N,)``.
        seed: of shuffling and ties.
        firsts: ``(N,)``, a number for the pixels of each image. Copies, whose number is the same, follow each other,
            and count as one image of the first one's class.
    """
    if firsts is None:
        return _stratified(labels, seed)
    places = _first_places(firsts)[firsts]
    different = np.flatnonzero(places == np.arange(len(places)))
    order = _stratified(labels[different], seed)
    if len(different) == len(labels):
        return order
    rank = np.empty(len(labels), dtype=np.int64)
    rank[different[order]] = np.arange(len(order))
    return np.argsort(rank[places], kind="stable")


def _stratified(labels: Labels, seed: int) -> Indices:
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(labels))
    if len(labels) == 0:
        return shuffled
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    _, counts = np.unique(labels, return_counts=True)  # images without a label count as a class
    starts = np.cumsum(counts) - counts
    # Classes in the order in which they win ties; a stable sort by key then settles everything.
    classes = np.argsort(rng.random(len(counts)), kind="stable")
    counts, starts = counts[classes], starts[classes]
    number = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    keys = (number + 0.5) / np.repeat(counts, counts)
    return by_class[(np.repeat(starts, counts) + number)[np.argsort(keys, kind="stable")]]


def share(count: int, fraction: float) -> int:
    """``fraction`` of ``count``, rounded down as the paper does: 65 % of 1,246,991 are 810,544."""
    return math.floor(fraction * count + 1e-9)


def covering_prefix(order: Indices, labels: Labels, count: int) -> Indices:
    """The first ``count`` rows of an order, and the first row of every class that is not among them."""
    ordered = labels[order]
    if len(ordered) == 0:
        return order
    first = _first_places(ordered - ordered.min())
    return np.concatenate([order[:count], order[np.sort(first[first >= count])]])


def _first_places(numbers: NDArray[np.int64]) -> Indices:
    """Where each number from 0 stands first; -1 for those that do not occur."""
    first = np.full(int(numbers.max(initial=-1)) + 1, -1)
    # Backwards, so that the first place of a number is the last one written.
    first[numbers[::-1]] = np.arange(len(numbers))[::-1]
    return first


def with_copies(rows: Indices, firsts: Indices) -> Indices:
    """Some rows and all copies of their images, ascending: whatever is cut off this way leaves no copy behind.

    Of a prefix of a :func:`stratified_order` it is the prefix that ends with the last image's copies, so that a longer
    one still contains a shorter one.

    Args:
        rows: different rows.
        firsts: ``(N,)``, for each image the row of the first one with its pixels.
    """
    return np.flatnonzero(membership(firsts[rows], len(firsts))[firsts])


def whole_groups(groups: Indices, labels: Labels, firsts: Indices, fraction: float, seed: int) -> Indices:
    """Some groups, whole and with all copies of their images, ascending: what is held out where groups are one hand's.

    Groups are taken in random order, each that still fits into ``fraction`` of the images. If none does it is a
    smallest one; more are taken, small ones first, while a class has no image among them. A group that would leave a
    class without images outside is not taken.

    Args:
        groups: ``(N,)``, the group of each image.
        labels: ``(N,)``; images without a label count as a class.
        firsts: ``(N,)``, for each image the row of the first one with its pixels.
        fraction: of the images that are wanted.
        seed: of the order.
    """
    classes = labels - labels.min()
    sizes = np.bincount(groups)
    drawn = np.random.default_rng(seed).permutation(np.flatnonzero(sizes))
    by_size = drawn[np.argsort(sizes[drawn], kind="stable")]
    taken = np.zeros(len(groups), dtype=bool)
    for group in drawn:
        more = _taken_too(taken, groups == group, classes, firsts)
        if more.sum() <= share(len(groups), fraction):
            taken = more
    for group in by_size:
        is_shown = np.bincount(classes[taken], minlength=int(classes.max()) + 1) > 0
        if not is_shown[classes[groups == group]].all():
            taken = _taken_too(taken, groups == group, classes, firsts)
    return np.flatnonzero(taken)


def _taken_too(
    taken: NDArray[np.bool_], group: NDArray[np.bool_], classes: Labels, firsts: Indices
) -> NDArray[np.bool_]:
    """What is taken and a group with its copies; only what is taken if that left a class nothing else."""
    more = taken | membership(with_copies(np.flatnonzero(group), firsts), len(taken))
    left = np.bincount(classes[~more], minlength=int(classes.max()) + 1)
    return more if (left > 0)[classes[more]].all() else taken


def membership(rows: Indices, count: int) -> NDArray[np.bool_]:
    """Which of ``count`` images are among ``rows``, ``(count,)``."""
    mask = np.zeros(count, dtype=bool)
    mask[rows] = True
    return mask


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


def repeats(digests: Digests) -> Iterator[Indices]:
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


def first_rows(digests: Digests) -> Indices:
    """For each image the row of the first one with its pixels, ``(N,)``: its own row, but for copies."""
    firsts = np.arange(len(digests))
    for copies in repeats(digests):
        firsts[copies] = copies[0]
    return firsts


def different_of_classes(labels: Labels, firsts: Indices, rows: Indices, classes: int) -> Labels:
    """How many different images of some rows each class has, ``(C,)``.

    Args:
        labels: of all images, ``(N,)``; -1 counts nowhere.
        firsts: of each image the row of the first one with its pixels, ``(N,)``.
        rows: ascending, ``(M,)``; all copies of an image or none.
        classes: their number.
    """
    is_copy = firsts[rows] != rows
    copies = rows[is_copy]
    copies = copies[labels[firsts[copies]] != labels[copies]]  # of another class's image
    pairs = np.unique(np.stack([labels[copies], firsts[copies]]), axis=1)
    counted = np.concatenate([labels[rows[~is_copy]], pairs[0]])
    return np.bincount(counted[counted >= 0], minlength=classes)


def shared_rows(images: Digests, others: Digests) -> Indices:
    """Rows of the images that are among the others, too."""
    others = np.sort(others)  # several times as fast as np.isin where these are many
    return np.flatnonzero(np.searchsorted(others, images, "left") < np.searchsorted(others, images, "right"))
