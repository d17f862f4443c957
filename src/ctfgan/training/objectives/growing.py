"""PROG-GAN's game at one size (Karras et al. 2018): WGAN-GP with a class, while the newest blocks fade in."""

from __future__ import annotations

from typing import Protocol, cast

import torch
from torch import Tensor

from ctfgan.data.batches import Batch
from ctfgan.distributed.engine import send
from ctfgan.training.objectives.adversarial import Judged, LossTerms, ObjectiveSetup
from ctfgan.training.objectives.classified import ClassifiedObjective, ClassTerm
from ctfgan.training.regularization import squared_gradients
from ctfgan.training.settings import CriticPenaltySettings


class Growing(Protocol):
    """A network with a newest block that fades in."""

    def set_alpha(self, value: float) -> None:
        """How far the newest block counts, 0 ... 1."""


class GrowingCritic(Protocol):
    """A discriminator that knows how much detail its generator can make."""

    def blurred(self, images: Tensor) -> Tensor:
        """Images ``(N, K, R, R)`` with no more detail than that."""
        ...


class GrowingObjective(ClassifiedObjective):
    """The Wasserstein game with gradient penalty, drift penalty and the auxiliary classifier of the authors' code.

    Args:
        setup: both players are growing networks; the loss is the Wasserstein one.
        classifier: the cross-entropy.
        penalty: weights of the two penalties.
        fade: part of the stage in which the newest block fades in; 0 at the first size.
    """

    def __init__(
        self, setup: ObjectiveSetup, classifier: ClassTerm, penalty: CriticPenaltySettings, fade: float
    ) -> None:
        super().__init__(setup, classifier)
        self._penalty = penalty
        self._fade = fade

    def advance(self, progress: float) -> None:
        """Fade the newest block in."""
        alpha = min(1.0, progress / self._fade) if self._fade else 1.0
        for network in (self.generator, self.discriminator):
            cast(Growing, network).set_alpha(alpha)

    def _real(self, batch: Batch) -> Tensor:
        return cast(GrowingCritic, self.discriminator).blurred(batch.real)

    def _more_discriminator_terms(self, judged: Judged) -> LossTerms:
        terms = super()._more_discriminator_terms(judged)
        terms["gradient"] = self._penalty.weight * self._gradient_penalty(judged)
        terms["drift"] = self._penalty.drift * judged.real_logits.square().mean()
        return terms

    def _gradient_penalty(self, judged: Judged) -> Tensor:
        """Squared distance of the gradient's norm from its target, on lines between real and synthetic images."""
        real, fake = judged.images.detach().chunk(2)
        place = send(self._batch_rng.uniform(len(real), 1, 1, 1), real.device)
        mixed = torch.lerp(real, fake, place).requires_grad_()
        labels = judged.labels[: len(real)]
        logits = self._judge(self._critic.features(self._strengthening.augment(mixed), labels), labels)
        norm = squared_gradients(logits, mixed).clamp_min(1e-12).sqrt()
        return ((norm - self._penalty.target) / self._penalty.target).square().mean()
