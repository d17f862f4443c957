"""Scores of a set of images on one extractor's features, in all and class by class.

Frechet and kernel distance are torchmetrics', fed with features.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

import torch
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from ctfgan.core.errors import CtfganError
from ctfgan.core.progress import Progress
from ctfgan.metrics.features import Chunk, ExtractedFeatures, Extractor, ExtractorCard, extract_features

KERNEL_SUBSETS = 100
KERNEL_SUBSET_SIZE = 1_000
PRDC_IMAGES = 10_000  # of either kind; all pairs are compared
PRDC_ROWS = 1_000  # of the matrix of distances at a time
FEWEST_REAL = 50  # images of a class that is measured by itself


@dataclass(frozen=True)
class Prdc:
    """Precision and recall (Kynkäänniemi et al. 2019), density and coverage (Naeem et al. 2020).

    Shares, all but density in [0, 1]. The ball of an image reaches to its k-th nearest of the same kind.
    """

    precision: float
    """Samples inside the ball of at least one real image."""
    recall: float
    """Real images inside the ball of at least one sample."""
    density: float
    """Balls of real images that a sample lies in, on average over samples, divided by k; about 1 for real images."""
    coverage: float
    """Real images whose ball holds at least one sample."""


@dataclass(frozen=True)
class PerClass:
    """Frechet distances within classes, which see a class that is drawn badly among many good ones."""

    mean: float
    """Over the classes measured; the published kind is called intra-FID."""
    distances: dict[str, float]
    """By class name."""
    fake: int
    """Images measured of each class, of the class with fewest."""
    real: int
    """Real images of the measured class that has fewest."""
    too_few: int
    """Classes that cannot be measured because they have too few real images."""
    lq_only: tuple[str, ...] = ()
    """Names of those measured that the GAN has seen low-quality images of only."""


@dataclass(frozen=True)
class Scores:
    """What one set of images scores; what an extractor, the method or too few images do not give is None."""

    fake: int
    """Images measured: generated, or real for the floor."""
    real: int
    """Real images that they are compared with."""
    top_1: float | None
    """Share of images whose intended class the recogniser ranks first, mean over the classes that the GAN has seen
    high-quality images of."""
    top_5: float | None
    """Share of images whose intended class is among the first five, likewise."""
    score: float | None
    """Formula of the Inception score on the extractor's classes; mean over splits. None for too few images, too."""
    score_spread: float | None
    """Its standard deviation over splits."""
    frechet: float
    """Frechet distance of the features to the reference's; lower is better."""
    frechet_at_floor: float | None
    """The same of as many images as the floor has, to those that the floor is compared with: the distance of small sets
    is biased upwards, and this one is so by as much as the floor. None for the floor itself."""
    kernel: float
    """Kernel distance (cubic polynomial MMD, unbiased) to the reference; mean over subsets; lower is better."""
    neighbours: Prdc | None
    """Precision, recall, density, coverage."""
    per_class: PerClass | None = None
    """Frechet distance class by class."""
    too_few_for_score: bool = False
    """Whether it is for want of images that there is no score."""
    top_1_lq_only: float | None = None
    """``top_1`` over the classes that the GAN has seen low-quality images of only; None without any."""
    top_5_lq_only: float | None = None
    """The same of ``top_5``."""


class _PassThrough(nn.Module):
    """torchmetrics wants a module that makes features of images; ours are made already."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features


def score_features(
    extracted: ExtractedFeatures,
    reference: Tensor,
    card: ExtractorCard,
    floor: tuple[int, Tensor] | None,
    *,
    k: int,
    seed: int,
) -> Scores:
    """All scores of one set of images but the class-wise distance.

    Args:
        extracted: what the extractor made of the images.
        reference: its features ``(M, D)`` of real images.
        card: the extractor's.
        floor: how many real images the floor is measured on, and the features of those that they are compared with;
            None if this is the floor.
        k: which nearest neighbour bounds the balls of precision and its kin.
        seed: of the kernel distance's subsets and of the images that neighbours are sought among.
    """
    features, score, accuracy = extracted.features, extracted.score, extracted.accuracy
    return Scores(
        fake=len(features),
        real=len(reference),
        top_1=None if accuracy is None else accuracy.top_1,
        top_5=None if accuracy is None else accuracy.top_5,
        score=None if score is None else score.mean,
        score_spread=None if score is None else score.spread,
        frechet=frechet_distance(reference, features),
        frechet_at_floor=None if floor is None else frechet_distance(floor[1], features[: floor[0]]),
        kernel=kernel_distance(reference, features, scaled=card.scaled_kernel, seed=seed),
        neighbours=prdc(reference, features, k, seed),
        too_few_for_score=extracted.too_few_for_score,
        top_1_lq_only=None if accuracy is None else accuracy.top_1_lq_only,
        top_5_lq_only=None if accuracy is None else accuracy.top_5_lq_only,
    )


def frechet_distance(reference: Tensor, features: Tensor) -> float:
    """Frechet distance between Gaussians fitted to features ``(M, D)`` and ``(N, D)``, in float64.

    Raises:
        CtfganError: the distance is not finite, because the recogniser's features are not.
    """
    # Alone even among several processes: the features are all here, and torchmetrics would add everybody's.
    network = _PassThrough(reference.shape[1])
    metric = FrechetInceptionDistance(feature=network, normalize=False, sync_on_compute=False)
    metric.set_dtype(torch.float64)
    metric.update(reference, real=True)
    metric.update(features, real=False)
    distance = metric.compute().item()
    if not math.isfinite(distance):
        raise CtfganError(
            f"the distance is {distance}, so the features are not finite; if they are the recogniser's, lower "
            "recogniser.learning_rate and train anew"
        )
    return max(0.0, distance)  # two nearly equal Gaussians can come out a rounding error below zero


def kernel_distance(reference: Tensor, features: Tensor, *, scaled: bool, seed: int) -> float:
    """Squared maximum mean discrepancy under (x . y / D + 1)^3 of features ``(M, D)`` and ``(N, D)``, in float64.

    Args:
        reference: of real images.
        features: of the images measured.
        scaled: divide both by the reference's root mean square first.
        seed: chooses 100 subsets of 1,000 images, or of as many as there are.
    """
    reference, features = reference.double(), features.double()
    if scaled:
        scale = reference.pow(2).mean().sqrt()
        reference, features = reference / scale, features / scale
    size = min(KERNEL_SUBSET_SIZE, len(reference), len(features))
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        # torchmetrics warns at construction that it keeps all features; they are here already.
        warnings.simplefilter("ignore", UserWarning)
        torch.manual_seed(seed)
        metric = KernelInceptionDistance(
            feature=_PassThrough(reference.shape[1]),
            subsets=KERNEL_SUBSETS,
            subset_size=size,
            normalize=False,
            sync_on_compute=False,
        )
        metric.update(reference, real=True)
        metric.update(features, real=False)
        mean, _ = metric.compute()
    return float(mean)


def prdc(reference: Tensor, features: Tensor, k: int, seed: int) -> Prdc | None:
    """How far samples lie among real images and real images among samples.

    Args:
        reference: features of real images, ``(M, D)``.
        features: of samples, ``(N, D)``.
        k: which nearest neighbour bounds a ball.
        seed: chooses images where there are more than 10,000.

    Returns:
        None if there are not more than k images of each kind.
    """
    if min(len(reference), len(features)) <= k:
        return None
    rng = torch.Generator().manual_seed(seed)
    real, fake = (
        images[torch.randperm(len(images), generator=rng)[:PRDC_IMAGES]].double() for images in (reference, features)
    )
    real_radius, fake_radius = _radii(real, k), _radii(fake, k)
    in_real_ball = torch.zeros(len(fake), dtype=torch.int64)  # balls of real images around each sample
    recalled, covered = [], []
    for start in range(0, len(real), PRDC_ROWS):
        rows = slice(start, start + PRDC_ROWS)
        distance = torch.cdist(real[rows], fake)
        inside = distance <= real_radius[rows, None]
        in_real_ball += inside.sum(dim=0)
        covered.append(inside.any(dim=1))
        recalled.append((distance <= fake_radius).any(dim=1))
    return Prdc(
        precision=(in_real_ball > 0).double().mean().item(),
        recall=torch.cat(recalled).double().mean().item(),
        density=in_real_ball.double().mean().item() / k,
        coverage=torch.cat(covered).double().mean().item(),
    )


def _radii(features: Tensor, k: int) -> Tensor:
    """Distance of each row to its k-th nearest other row."""
    nearest = [
        torch.cdist(features[start : start + PRDC_ROWS], features).kthvalue(k + 1, dim=1).values  # itself comes first
        for start in range(0, len(features), PRDC_ROWS)
    ]
    return torch.cat(nearest)


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
            for key, extracted in extract_features(extractors, draw(label), count, seed=0).items():
                real = self.features[key][self.labels == label]
                distances[key][label] = frechet_distance(real, extracted.features)
        return {key: self._summary(by_class, count, self.labels) for key, by_class in distances.items()}

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
        return {key: self._summary(by_class, fewest, self.labels[other]) for key, by_class in distances.items()}

    def _summary(self, distances: Mapping[int, float], fake: int, real_labels: Tensor) -> PerClass:
        return PerClass(
            mean=fmean(distances.values()),
            distances={self.names[label]: distance for label, distance in distances.items()},
            fake=fake,
            real=min(int((real_labels == label).sum()) for label in distances),
            too_few=self._too_few,
            lq_only=self._lq_only,
        )
