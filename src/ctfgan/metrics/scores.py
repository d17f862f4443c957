"""Figures of one set of images on one extractor; Frechet and kernel distance are torchmetrics', fed with features."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import KernelInceptionDistance

from ctfgan.core.errors import CtfganError
from ctfgan.metrics.extractor import ExtractorCard
from ctfgan.metrics.features import Reading
from ctfgan.metrics.neighbours import Neighbourhood, neighbourhood

KERNEL_SUBSETS = 100
KERNEL_SUBSET_SIZE = 1_000


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
class Figures:
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
    neighbours: Neighbourhood | None
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


def measure(
    reading: Reading, reference: Tensor, card: ExtractorCard, floor: tuple[int, Tensor] | None, *, k: int, seed: int
) -> Figures:
    """All figures of one set of images but the class-wise distance.

    Args:
        reading: what the extractor saw in the images.
        reference: its features ``(M, D)`` of real images.
        card: the extractor's.
        floor: how many real images the floor is measured on, and the features of those that they are compared with;
            None if this is the floor.
        k: which nearest neighbour bounds the balls of precision and its kin.
        seed: of the kernel distance's subsets and of the images that neighbours are sought among.
    """
    features, score, accuracy = reading.features, reading.score, reading.accuracy
    return Figures(
        fake=len(features),
        real=len(reference),
        top_1=None if accuracy is None else accuracy.top_1,
        top_5=None if accuracy is None else accuracy.top_5,
        score=None if score is None else score.mean,
        score_spread=None if score is None else score.spread,
        frechet=frechet_distance(reference, features),
        frechet_at_floor=None if floor is None else frechet_distance(floor[1], features[: floor[0]]),
        kernel=kernel_distance(reference, features, scaled=card.scaled_kernel, seed=seed),
        neighbours=neighbourhood(reference, features, k, seed),
        too_few_for_score=reading.too_few_for_score,
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
