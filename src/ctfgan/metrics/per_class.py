"""Frechet distance class by class."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from statistics import fmean

import torch
from torch import Tensor

from ctfgan.core.progress import Progress
from ctfgan.metrics.extractor import Extractor
from ctfgan.metrics.features import Chunk, read_images
from ctfgan.metrics.scores import PerClass, frechet_distance

FEWEST_REAL = 50


def measurable_classes(reference_labels: Tensor, num_classes: int, wanted: int) -> list[int]:
    """At most ``wanted`` classes with 50 real images or more, spread evenly over those that have them."""
    counts = torch.bincount(reference_labels, minlength=num_classes)
    enough = (counts >= FEWEST_REAL).nonzero()[:, 0]
    if len(enough) == 0 or wanted == 0:
        return []
    places = torch.linspace(0, len(enough) - 1, min(wanted, len(enough))).round().long()
    return [int(label) for label in enough[places]]


class ClassReference:
    """Real images sorted by class, and the classes to measure.

    Args:
        features: per extractor ``(M, D)``.
        labels: ``(M,)``.
        names: of all classes, in label order.
        wanted: how many classes to measure.
        lq_only: classes that the GAN has seen low-quality images of only.
    """

    def __init__(
        self,
        features: Mapping[str, Tensor],
        labels: Tensor,
        names: Sequence[str],
        wanted: int,
        lq_only: Collection[int] = (),
    ) -> None:
        self.features = features
        self.labels = labels
        self.names = names
        self.chosen = measurable_classes(labels, len(names), wanted)
        counts = torch.bincount(labels, minlength=len(names))
        self._lq_only = tuple(names[label] for label in self.chosen if label in lq_only)
        self._too_few = int((counts < FEWEST_REAL).sum())

    def measure(
        self, extractors: Sequence[Extractor], draw: Callable[[int], Iterable[Chunk]], count: int, progress: Progress
    ) -> dict[str, PerClass]:
        """Distance of ``count`` images of each chosen class, which ``draw`` makes, by extractor; empty without any."""
        if not self.chosen:
            return {}
        distances: dict[str, dict[int, float]] = {extractor.card.key: {} for extractor in extractors}
        for place in progress(range(len(self.chosen)), len(self.chosen), "measuring class by class"):
            label = self.chosen[place]
            for key, reading in read_images(extractors, draw(label), count, seed=0).items():
                real = self.features[key][self.labels == label]
                distances[key][label] = frechet_distance(real, reading.features)
        return {key: self._summary(found, count, self.labels) for key, found in distances.items()}

    def floor(self, one: Tensor, other: Tensor) -> dict[str, PerClass]:
        """Distance of the rows ``one`` to the rows ``other`` of the same class, by extractor; empty without any."""
        if not self.chosen:
            return {}
        distances: dict[str, dict[int, float]] = {key: {} for key in self.features}
        for label in self.chosen:
            mine, theirs = (rows[self.labels[rows] == label] for rows in (one, other))
            for key, features in self.features.items():
                distances[key][label] = frechet_distance(features[theirs], features[mine])
        fewest = min(int((self.labels[one] == label).sum()) for label in self.chosen)
        return {key: self._summary(found, fewest, self.labels[other]) for key, found in distances.items()}

    def _summary(self, distances: Mapping[int, float], fake: int, real_labels: Tensor) -> PerClass:
        return PerClass(
            mean=fmean(distances.values()),
            distances={self.names[label]: distance for label, distance in distances.items()},
            fake=fake,
            real=min(int((real_labels == label).sum()) for label in distances),
            too_few=self._too_few,
            lq_only=self._lq_only,
        )
