"""AC-GAN's game (Odena et al. 2017): both players also want the class of an image to be told."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ctfgan.data.batches import Batch
from ctfgan.distributed.random_streams import BatchRng
from ctfgan.training.losses import sampled_cross_entropy
from ctfgan.training.objectives.adversarial import AdversarialObjective, Critic, Judged, LossTerms, ObjectiveSetup


@dataclass(frozen=True)
class ClassTerm:
    """The cross-entropy of an auxiliary classifier."""

    weight: float
    """In both players' losses."""
    num_classes: int
    """C."""
    sampled: int | None
    """Classes, drawn anew for every batch, that stand for all the others; None looks at all of them."""

    def of(self, critic: Critic, features: Tensor, labels: Tensor, batch_rng: BatchRng) -> Tensor:
        """The weighted mean over images with features as the critic's heads read them, and labels ``(N,)``."""
        if self.sampled is None:
            candidates = torch.arange(self.num_classes, device=labels.device)
            return self.weight * F.cross_entropy(critic.classify(features, candidates), labels)
        # Drawn with repetition, by all processes alike; one that is an image's own class does not count for it.
        others = torch.randint(self.num_classes, (self.sampled,), generator=batch_rng.rng).to(
            labels.device, non_blocking=True
        )
        logits = critic.classify(features, torch.cat([labels, others]))
        own, sampled = logits[:, : len(labels)].diagonal(), logits[:, len(labels) :]
        return self.weight * sampled_cross_entropy(own, sampled, others == labels[:, None], self.num_classes)


class ClassifiedObjective(AdversarialObjective):
    """The adversarial game with the cross-entropy of an auxiliary classifier, on real and on synthetic images.

    Args:
        setup: the players; the discriminator has an auxiliary classifier.
        classifier: the cross-entropy.
    """

    def __init__(self, setup: ObjectiveSetup, classifier: ClassTerm) -> None:
        super().__init__(setup)
        self._classifier = classifier

    def _more_discriminator_terms(self, judged: Judged) -> LossTerms:
        # The mean over real and synthetic ones together, times two: one mean of each.
        return {"class": 2 * self._classifier.of(self._critic, judged.features, judged.labels, self._batch_rng)}

    def _more_generator_terms(self, fake: Tensor, features: Tensor, batch: Batch) -> LossTerms:
        return {"class": self._classifier.of(self._critic, features, batch.fake_labels, self._batch_rng)}
