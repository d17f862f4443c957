"""Precision, recall, density and coverage: how far samples lie among real images and real images among samples.

Precision and recall: Kynkäänniemi et al., "Improved Precision and Recall Metric for Assessing Generative Models", 2019.
Density and coverage: Naeem et al., "Reliable Fidelity and Diversity Metrics for Generative Models", 2020. torchmetrics
has none of them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

MOST_IMAGES = 10_000  # of either kind; all pairs are compared
ROWS = 1_000  # of the matrix of distances at a time


@dataclass(frozen=True)
class Neighbourhood:
    """Shares, all but density in [0, 1]; the ball of an image reaches to its k-th nearest of the same kind."""

    precision: float
    """Samples inside the ball of at least one real image."""
    recall: float
    """Real images inside the ball of at least one sample."""
    density: float
    """Balls of real images that a sample lies in, on average over samples, divided by k; about 1 for real images."""
    coverage: float
    """Real images whose ball holds at least one sample."""


def neighbourhood(reference: Tensor, features: Tensor, k: int, seed: int) -> Neighbourhood | None:
    """Compare features ``(N, D)`` of samples with features ``(M, D)`` of real images.

    Args:
        reference: of real images.
        features: of samples.
        k: which nearest neighbour bounds a ball.
        seed: chooses images where there are more than 10,000.

    Returns:
        None if there are not more than k images of each kind.
    """
    if min(len(reference), len(features)) <= k:
        return None
    rng = torch.Generator().manual_seed(seed)
    real, fake = (
        images[torch.randperm(len(images), generator=rng)[:MOST_IMAGES]].double() for images in (reference, features)
    )
    real_radius, fake_radius = _radii(real, k), _radii(fake, k)
    in_real_ball = torch.zeros(len(fake), dtype=torch.int64)  # balls of real images around each sample
    recalled, covered = [], []
    for start in range(0, len(real), ROWS):
        rows = slice(start, start + ROWS)
        distance = torch.cdist(real[rows], fake)
        inside = distance <= real_radius[rows, None]
        in_real_ball += inside.sum(dim=0)
        covered.append(inside.any(dim=1))
        recalled.append((distance <= fake_radius).any(dim=1))
    return Neighbourhood(
        precision=(in_real_ball > 0).double().mean().item(),
        recall=torch.cat(recalled).double().mean().item(),
        density=in_real_ball.double().mean().item() / k,
        coverage=torch.cat(covered).double().mean().item(),
    )


def _radii(features: Tensor, k: int) -> Tensor:
    """Distance of each row to its k-th nearest other row."""
    nearest = [
        torch.cdist(features[start : start + ROWS], features).kthvalue(k + 1, dim=1).values  # itself comes first
        for start in range(0, len(features), ROWS)
    ]
    return torch.cat(nearest)
