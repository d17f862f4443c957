"""Extractors, and what they make of images. All read a stream of images once; features are kept, pixels are not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ctfgan.data.images import Bytes

EVAL_CLASSIFIER, INCEPTION = "recogniser", "inception"
SECOND_RECOGNISER = "second-recogniser"
"""Of another seed, for samples that the first one chose."""
SCORE_SPLITS = 10
FEWEST_PER_SPLIT = 50
"""Images in a split of the score: it cannot exceed their number, so that of a few it says nothing."""

Chunk = tuple[Bytes, Tensor | None]
"""uint8 images ``(N, R, R, K)`` and the class that each was meant to show ``(N,)``, or None."""


@dataclass(frozen=True)
class ExtractorCard:
    """Who an extractor is, how it sees images, and what metrics on its features are called."""

    key: str
    """Short name, one of a kind within an evaluation; its metrics are filed under it."""
    name: str
    """Name with a hash of its weights: metrics compare only if this is the same."""
    width: int
    """Length D of the feature vector."""
    resize: str
    """What it does to an image's size, in words."""
    distance: str
    """What its Frechet distance is called; only the published Inception's is an FID."""
    kernel: str
    """What its kernel distance is called."""
    score: str
    """What the formula of the Inception score gives on its probabilities is called."""
    knows_classes: bool = False
    """Whether its classes are the run's own, so that it can tell whether an image shows its class."""
    scaled_kernel: bool = False
    """Whether the kernel distance divides features by the reference's root mean square. The cubic kernel depends on
    the features' scale, which is arbitrary in a classifier trained anew; published weights have one scale for all."""
    published_images: int | None = None
    """How many generated images published values on this extractor are made from."""


class Extractor(Protocol):
    """A network in evaluation mode on some device."""

    @property
    def card(self) -> ExtractorCard:
        """Its name, its resize, the names of its metrics."""
        ...

    def read(self, images: Bytes) -> tuple[Tensor, Tensor | None]:
        """Features ``(N, D)`` and class probabilities ``(N, C)``, or None, of uint8 images ``(N, R, R, K)``.

        Both are on the CPU. N may be large: an extractor makes its own batches.
        """
        ...


def as_colour(images: Bytes, device: torch.device) -> Tensor:
    """uint8 ``(N, R, R, K)`` as a uint8 tensor ``(N, 3, R, R)`` on a device; grey is repeated."""
    batch = torch.from_numpy(np.ascontiguousarray(images)).to(device).permute(0, 3, 1, 2)
    return batch.expand(-1, 3, -1, -1).contiguous()


@dataclass(frozen=True)
class SplitScore:
    """The formula of the Inception score: exp of the mean divergence of an image's classes from those of all."""

    mean: float
    """Over splits."""
    spread: float
    """Standard deviation over splits, not corrected for their number, as in published scores."""


@dataclass(frozen=True)
class Accuracy:
    """How often the intended class is among those that an extractor ranks first: means over the classes that occur.

    Classes of which a generator has seen low-quality images only stand apart; None where none of a kind occur.
    """

    top_1: float | None
    top_5: float | None
    top_1_lq_only: float | None = None
    top_5_lq_only: float | None = None


@dataclass(frozen=True)
class ExtractedFeatures:
    """What an extractor makes of a set of images."""

    features: Tensor
    """``(N, D)``."""
    score: SplitScore | None
    """None for extractors without probabilities, and for too few images."""
    too_few_for_score: bool
    """Whether it is for want of images that there is no score."""
    accuracy: Accuracy | None
    """None for images without an intended class and for extractors that do not know the classes."""


def extract_features(
    extractors: Sequence[Extractor], chunks: Iterable[Chunk], count: int, seed: int, lq_only: Sequence[int] = ()
) -> dict[str, ExtractedFeatures]:
    """Read a stream of images, each extractor every image.

    Args:
        extractors: with keys of their own.
        chunks: the stream.
        count: how many of its images features and score are taken of, from the first on; what comes after them counts
            for the accuracy alone.
        seed: assigns images to the splits of the score.
        lq_only: classes whose accuracy stands apart.
    """
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    split = order * SCORE_SPLITS // count
    collectors = [_Collector(extractor, count) for extractor in extractors]
    start = 0
    for images, labels in chunks:
        rows = slice(start, min(start + len(images), count))
        for collector in collectors:
            collector.add(images, labels, rows, split[rows])
        start += len(images)
    assert start >= count, f"{count} images were announced and {start} came"
    return {collector.extractor.card.key: collector.extracted(lq_only) for collector in collectors}


def accuracy(probabilities: Tensor, labels: Tensor, lq_only: Sequence[int] = ()) -> Accuracy:
    """Of images with probabilities ``(N, C)`` that were meant to show some classes ``(N,)``; some stand apart."""
    hits = _ClassHits(probabilities.shape[1])
    hits.add(probabilities, labels)
    return hits.accuracy(lq_only)


class _Collector:
    """Features and running sums of one extractor. Probabilities are not kept: with thousands of classes they would
    take more memory than features.
    """

    def __init__(self, extractor: Extractor, count: int) -> None:
        self.extractor = extractor
        self._features = torch.empty(count, extractor.card.width)
        self._score: _ScoreSums | None = None
        self._hits: _ClassHits | None = None

    def add(self, images: Bytes, labels: Tensor | None, rows: slice, split: Tensor) -> None:
        features, probabilities = self.extractor.read(images)
        self._features[rows] = features[: len(split)]
        if probabilities is None:
            return
        if self._score is None:
            self._score = _ScoreSums(probabilities.shape[1])
        self._score.add(probabilities[: len(split)], split)
        if labels is not None and self.extractor.card.knows_classes:
            if self._hits is None:
                self._hits = _ClassHits(probabilities.shape[1])
            self._hits.add(probabilities, labels)

    def extracted(self, lq_only: Sequence[int]) -> ExtractedFeatures:
        too_few = self._score is not None and len(self._features) < SCORE_SPLITS * FEWEST_PER_SPLIT
        score = None if self._score is None or too_few else self._score.score()
        accuracy = None if self._hits is None else self._hits.accuracy(lq_only)
        return ExtractedFeatures(self._features, score, too_few, accuracy)


class _ClassHits:
    """Per class the images, those that the extractor ranks first, and those among the first five."""

    def __init__(self, classes: int) -> None:
        self._images = torch.zeros(classes)
        self._hits = torch.zeros(classes, 2)

    def add(self, probabilities: Tensor, labels: Tensor) -> None:
        ranking = probabilities.topk(min(5, probabilities.shape[1]), dim=1).indices == labels[:, None]
        self._images.index_add_(0, labels, torch.ones(len(labels)))
        self._hits.index_add_(0, labels, torch.stack([ranking[:, 0], ranking.any(dim=1)], dim=1).float())

    def accuracy(self, lq_only: Sequence[int]) -> Accuracy:
        occurs = self._images > 0
        apart = torch.zeros_like(occurs)
        apart[torch.tensor(lq_only, dtype=torch.int64)] = True
        return Accuracy(*self._means(occurs & ~apart), *self._means(occurs & apart))

    def _means(self, classes: Tensor) -> tuple[float | None, float | None]:
        if not classes.any():
            return None, None
        first, among_five = (self._hits[classes].double() / self._images[classes, None]).mean(dim=0).tolist()
        return first, among_five


class _ScoreSums:
    """Per split the sums of p and of p log p, from which the score follows: with m the mean of p over N images,
    (1/N) sum KL(p, m) = (1/N) sum p log p - sum m log m.
    """

    def __init__(self, classes: int) -> None:
        self._counts = torch.zeros(SCORE_SPLITS, dtype=torch.float64)
        self._sums = torch.zeros(SCORE_SPLITS, classes, dtype=torch.float64)
        self._sums_of_logs = torch.zeros(SCORE_SPLITS, dtype=torch.float64)

    def add(self, probabilities: Tensor, split: Tensor) -> None:
        wide = probabilities.double()
        self._counts.index_add_(0, split, torch.ones(len(split), dtype=torch.float64))
        self._sums.index_add_(0, split, wide)
        self._sums_of_logs.index_add_(0, split, torch.special.xlogy(wide, wide).sum(dim=1))

    def score(self) -> SplitScore:
        mean = self._sums / self._counts[:, None]
        divergence = self._sums_of_logs / self._counts - torch.special.xlogy(mean, mean).sum(dim=1)
        scores = divergence.exp()
        return SplitScore(scores.mean().item(), scores.std(correction=0).item())
