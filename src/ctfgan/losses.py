"""Losses as pure functions on logits, boxes and images; each returns one scalar."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def hinge_discriminator(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Hinge loss of the discriminator; logits ``(N,)``, real ones should exceed 1, fake ones fall below -1."""
    return F.relu(1 - real_logits).mean() + F.relu(1 + fake_logits).mean()


def hinge_generator(fake_logits: Tensor) -> Tensor:
    """Hinge loss of the generator; logits ``(N,)`` of its images should rise."""
    return -fake_logits.mean()


def box_distance(predicted: Tensor, target: Tensor) -> Tensor:
    """Smooth L1 distance of boxes ``(N, 4)`` = (x0, y0, x1, y1) / R in [0, 1] (Task 3, decision 10)."""
    return F.smooth_l1_loss(predicted, target)


def low_quality_consistency(images: Tensor, low_quality: Tensor, size: int) -> Tensor:
    """L1 distance of images ``(N, K, R, R)`` and ``(N, K, r, r)`` after area averaging to ``size`` (decision 16).

    At a size small enough, what an unknown degradation did to the low-quality image no longer matters.
    """
    return F.l1_loss(F.adaptive_avg_pool2d(images, size), F.adaptive_avg_pool2d(low_quality, size))
