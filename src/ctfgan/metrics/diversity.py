"""How much images differ from each other on the features of a classifier, beside real ones."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

PRIOR_IMAGES = 4
"""Images that the mean over all classes counts for in the distance of one: few real images say little."""
SPLITS = 4
CLASSES_SPLIT = 500
FEW_PER_HALF = 8
CHANCE = 0.001
"""Part of halves of real images that come out below the floor."""
MOST_PAIRED = 500


def mean_distance(features: Tensor) -> Tensor:
    """Mean Euclidean distance between two different rows of each set, ``(..., N, D)`` with N > 1 to ``(...)``."""
    count = features.shape[-2]
    # Not by products: of equal rows the distance must be zero.
    distances = torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist")
    return distances.sum(dim=(-2, -1)) / (count * (count - 1))


def relative_diversity(samples: Tensor, real: Tensor) -> float | None:
    """Mean distance between samples ``(N, D)`` over that between real images ``(M, D)``, of all classes together.

    Of large sets the first 500 rows stand for all. None if the real images are all alike, or there is only one.
    """
    if min(len(samples), len(real)) < 2:
        return None
    own, other = (mean_distance(features[:MOST_PAIRED]).item() for features in (samples, real))
    return own / other if other > 0 else None


class ClassDiversity:
    """How much the samples of each class differ, beside as many real images of it.

    Args:
        features: of real images, ``(M, D)``.
        labels: their classes, ``(M,)``.
        num_classes: C.
        samples: generated images of each class, 2 or more.

    Attributes:
        floor: what real images reach by chance against others of their class; below it, few samples prove something.
            None where no class has four images.
    """

    def __init__(self, features: Tensor, labels: NDArray[np.int64], num_classes: int, samples: int) -> None:
        order = np.argsort(labels, kind="stable")
        bounds = np.searchsorted(labels[order], np.arange(num_classes + 1))
        by_class = [features[torch.from_numpy(order[a:b])] for a, b in pairwise(bounds)]
        counts = torch.tensor([len(rows) for rows in by_class])
        own = torch.stack([mean_distance(rows) if len(rows) > 1 else torch.zeros(()) for rows in by_class])
        known = counts > 1
        mean = own[known].mean() if known.any() else torch.zeros(())
        weight = counts * known
        # The mean stands in for what few images cannot say; of a class without any nothing is said.
        self._real = (counts > 0) * (weight * own + PRIOR_IMAGES * mean) / (weight + PRIOR_IMAGES)
        self.floor = _floor(by_class, samples)

    def of(self, samples: Tensor) -> list[float | None]:
        """Relative diversity of each class, of features ``(C, N, D)``; None where its real images are all alike, or
        there are none.
        """
        own = mean_distance(samples)
        return [mine / real if real > 0 else None for mine, real in zip(own.tolist(), self._real.tolist(), strict=True)]


def alike_below(threshold: float, floor: float | None) -> float:
    """The relative diversity below which the samples of a class count as alike.

    Args:
        threshold: what is asked of classes with many real images.
        floor: of :class:`ClassDiversity`, where it is lower; without one nothing counts as alike.
    """
    return min(threshold, floor or 0.0)


def pick_by_class(labels: NDArray[np.int64], most: int, seed: int) -> NDArray[np.int64]:
    """Places of at most ``most`` images of each class, drawn by chance, ascending; labels ``(M,)``."""
    drawn = np.random.default_rng(seed).permutation(len(labels))
    order = drawn[np.argsort(labels[drawn], kind="stable")]
    sorted_labels = labels[order]
    first = np.searchsorted(sorted_labels, sorted_labels)
    return np.sort(order[np.arange(len(order)) - first < most])


def _floor(by_class: list[Tensor], samples: int) -> float | None:
    """A low quantile of the relative diversity of one half of a class's real images beside the other half."""
    large = [rows for rows in by_class if len(rows) >= 2 * min(samples, FEW_PER_HALF)]
    large = large or [rows for rows in by_class if len(rows) >= 4]
    chosen = [large[int(place)] for place in np.unique(np.linspace(0, len(large) - 1, CLASSES_SPLIT))] if large else []
    ratios = []
    rng = np.random.default_rng(0)
    for rows in chosen:
        half = min(samples, len(rows) // 2)
        for _ in range(SPLITS):
            mixed = rows[torch.from_numpy(rng.permutation(len(rows)))]
            other = mean_distance(mixed[half:]).item()
            if other > 0:
                ratios.append(mean_distance(mixed[:half]).item() / other)
    return float(np.quantile(ratios, CHANCE)) if ratios else None
