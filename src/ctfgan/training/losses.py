"""Losses as pure functions on logits, boxes and images; each returns one scalar."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


def hinge_discriminator(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Hinge loss of the discriminator; logits ``(N,)``, real ones should exceed 1, fake ones fall below -1."""
    return F.relu(1 - real_logits).mean() + F.relu(1 + fake_logits).mean()


def wasserstein_discriminator(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """How far the critic's values ``(N,)`` of real images are above those of fakes, negated (Arjovsky et al. 2017)."""
    return fake_logits.mean() - real_logits.mean()


def relativistic_discriminator(real_logits: Tensor, fake_logits: Tensor) -> Tensor:
    """Relativistic pairing (R3GAN, Huang et al. 2024): image i of ``(N,)`` should look more real than fake i."""
    return F.softplus(fake_logits - real_logits).mean()


def rising_generator(real_logits: Tensor | None, fake_logits: Tensor) -> Tensor:
    """Generator of the hinge and the Wasserstein game: logits ``(N,)`` of its images should rise."""
    return -fake_logits.mean()


def relativistic_generator(real_logits: Tensor | None, fake_logits: Tensor) -> Tensor:
    """Generator of the relativistic game: fake i should look more real than image i."""
    assert real_logits is not None, "a relativistic generator is judged beside real images"
    return F.softplus(real_logits - fake_logits).mean()


class AdversarialLoss(NamedTuple):
    """The two sides of an adversarial game on logits ``(N,)`` of real and fake images."""

    discriminator: Callable[[Tensor, Tensor], Tensor]
    generator: Callable[[Tensor | None, Tensor], Tensor]
    generator_sees_real: bool
    """Whether the generator's side needs the logits of real images; None is passed if not."""
    won: float | None
    """The discriminator's loss once it has nothing left to learn; None where there is no such point."""


AdversarialLossName = Literal["hinge", "relativistic", "wasserstein"]

ADVERSARIAL_LOSSES: dict[AdversarialLossName, AdversarialLoss] = {
    "hinge": AdversarialLoss(hinge_discriminator, rising_generator, False, 0.0),
    "relativistic": AdversarialLoss(relativistic_discriminator, relativistic_generator, True, 0.0),
    "wasserstein": AdversarialLoss(wasserstein_discriminator, rising_generator, False, None),
}


def sampled_cross_entropy(target: Tensor, sampled: Tensor, is_target: Tensor, num_classes: int) -> Tensor:
    """Cross-entropy over C classes from a uniform sample of them (Bengio and Senecal 2008), mean over the images.

    The sampled logits stand for all classes but the target; each is raised by the logarithm of how many it stands for.
    With every other class sampled once it is the full cross-entropy.

    Args:
        target: logits of the images' own classes, ``(N,)``.
        sampled: logits of sampled classes, ``(N, S)``.
        is_target: ``(N, S)`` bool; where a sampled class is the image's own, which then does not count.
        num_classes: C.
    """
    others = (~is_target).sum(dim=1).clamp_min(1)
    weight = ((num_classes - 1) / others).log()[:, None]
    logits = (sampled + weight).masked_fill(is_target, float("-inf"))
    return (torch.cat([target[:, None], logits], dim=1).logsumexp(dim=1) - target).mean()


def box_distance(predicted: Tensor, target: Tensor) -> Tensor:
    """Smooth L1 distance of boxes ``(N, 4)`` = (x0, y0, x1, y1) / R in [0, 1] (Task 3, decision 10)."""
    return F.smooth_l1_loss(predicted, target)


def low_quality_consistency(images: Tensor, low_quality: Tensor, size: int, are_own: Tensor | None = None) -> Tensor:
    """L1 distance of images ``(N, K, R, R)`` and ``(N, K, r, r)`` after area averaging to ``size`` (decision 16).

    At a size small enough, what an unknown degradation did to the low-quality image no longer matters.

    Args:
        images: synthetic ones.
        low_quality: that they are made of.
        size: side at which they are compared.
        are_own: which of the low-quality images show the class of the synthetic one, ``(N,)`` bool; the others count as
            no distance. None if all do.
    """
    images, low_quality = F.adaptive_avg_pool2d(images, size), F.adaptive_avg_pool2d(low_quality, size)
    if are_own is None:
        return F.l1_loss(images, low_quality)
    return ((images - low_quality).abs().mean(dim=(1, 2, 3)) * are_own).mean()
