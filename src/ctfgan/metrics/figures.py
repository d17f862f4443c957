"""Figures from features and class probabilities; the arithmetic is torchmetrics', fed with our extractor's output."""

from __future__ import annotations

import math
import warnings
from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.inception import InceptionScore
from torchmetrics.image.kid import KernelInceptionDistance

from ctfgan.errors import CtfganError

KID_SUBSETS = 50
KID_SUBSET_SIZE = 500
SCORE_SPLITS = 10


@dataclass(frozen=True)
class Figures:
    """What one set of images scores; the class figures are None for images without an intended class."""

    count: int
    """Number of images measured."""
    top_1: float | None
    """Share of images whose intended class the recogniser ranks first, over all classes."""
    top_5: float | None
    """Share of images whose intended class is among the first five."""
    score_mean: float
    """Recogniser score: the formula of the Inception score on the recogniser's classes."""
    score_std: float
    """Its spread over 10 splits."""
    frechet: float
    """Frechet distance to the reference on the recogniser's features; lower is better."""
    kid: float
    """Kernel distance (polynomial MMD, unbiased) to the reference on the same features, divided by the reference's
    root mean square; mean over subsets."""

    def as_dict(self) -> dict[str, float | None]:
        """For JSON."""
        return asdict(self)


class _PassThrough(nn.Module):
    """torchmetrics wants a module that makes features of images; ours are made already."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features


def measure(
    features: Tensor, probabilities: Tensor, reference: Tensor, labels: Tensor | None, *, seed: int = 0
) -> Figures:
    """All figures of one set of images.

    Args:
        features: ``(N, D)`` of the images.
        probabilities: ``(N, C)`` of the images.
        reference: features ``(M, D)`` of real images.
        labels: intended classes ``(N,)``, or None.
        seed: seed of the kernel distance's subsets and of the score's shuffle.
    """
    top_1 = top_5 = None
    if labels is not None:
        ranked = probabilities.topk(min(5, probabilities.shape[1]), dim=1).indices == labels[:, None]
        top_1, top_5 = ranked[:, 0].double().mean().item(), ranked.any(dim=1).double().mean().item()
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        # torchmetrics warns at construction that its metrics keep all features; they are small here.
        warnings.simplefilter("ignore", UserWarning)
        torch.manual_seed(seed)
        score_mean, score_std = _score(probabilities)
        kid = _kernel_distance(reference, features)
    return Figures(len(features), top_1, top_5, score_mean, score_std, frechet_distance(reference, features), kid)


def frechet_distance(reference: Tensor, features: Tensor) -> float:
    """Frechet distance between Gaussians fitted to features ``(M, D)`` and ``(N, D)``, in float64.

    Raises:
        CtfganError: the distance is not finite, because the recogniser's features are not.
    """
    metric = FrechetInceptionDistance(feature=_PassThrough(reference.shape[1]), normalize=False)
    metric.set_dtype(torch.float64)
    metric.update(reference, real=True)
    metric.update(features, real=False)
    distance = metric.compute().item()
    if not math.isfinite(distance):
        raise CtfganError(
            f"the distance is {distance}, so the recogniser has not learned; lower recogniser.learning_rate"
        )
    return max(0.0, distance)  # two nearly equal Gaussians can come out a rounding error below zero


def _kernel_distance(reference: Tensor, features: Tensor) -> float:
    # The cubic kernel blows up with the features' scale, which is arbitrary: bring it to 1.
    scale = reference.pow(2).mean().sqrt()
    reference, features = reference / scale, features / scale
    size = min(KID_SUBSET_SIZE, len(reference), len(features))
    metric = KernelInceptionDistance(
        feature=_PassThrough(reference.shape[1]), subsets=KID_SUBSETS, subset_size=size, normalize=False
    )
    metric.update(reference, real=True)
    metric.update(features, real=False)
    mean, _ = metric.compute()
    return float(mean)


def _score(probabilities: Tensor) -> tuple[float, float]:
    metric = InceptionScore(feature=_PassThrough(probabilities.shape[1]), splits=SCORE_SPLITS, normalize=False)
    # torchmetrics takes logits and applies softmax; logarithms of probabilities are logits of the same softmax.
    metric.update(probabilities.clamp_min(1e-12).log())
    mean, spread = metric.compute()
    return float(mean), float(spread)
