"""Who sees which image: seeded, stratified, nested subsets (decision 13)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from ctfgan.data.sources.base import Labels

Rows = NDArray[np.int64]


def stratified_order(labels: Labels, seed: int) -> Rows:
    """An order of all rows in which every prefix holds nearly the same share of every class.

    Image number j (shuffled) of the n_c images of class c gets the key (j + 1/2) / n_c; rows are sorted by key, ties
    between classes at random. A prefix is therefore a stratified subset, and a longer prefix contains a shorter one.
    """
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(labels))
    by_class = shuffled[np.argsort(labels[shuffled], kind="stable")]
    classes, counts = np.unique(labels, return_counts=True)
    starts = np.repeat(np.cumsum(counts) - counts, counts)
    key = (np.arange(len(labels)) - starts + 0.5) / np.repeat(counts, counts)
    tie = np.repeat(rng.random(len(classes)), counts)
    return by_class[np.lexsort((tie, key))].astype(np.int64)


def share(count: int, fraction: float) -> int:
    """``fraction`` of ``count``, rounded down as the paper does: 65 % of 1,246,991 are 810,544."""
    return math.floor(fraction * count + 1e-9)


def covering_prefix(order: Rows, labels: Labels, count: int) -> Rows:
    """The first ``count`` rows of an order, and the first row of every class that is not among them."""
    _, first = np.unique(labels[order], return_index=True)
    return np.concatenate([order[:count], order[np.sort(first[first >= count])]])
