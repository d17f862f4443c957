"""AC-GAN's game (Odena et al. 2017): both players also want the class of an image to be told."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from ctfgan.data.batches import Batch
from ctfgan.training.objectives.adversarial import AdversarialGame, GameSetup, Judged, LossTerms


class ClassifiedGame(AdversarialGame):
    """The adversarial game with the cross-entropy of an auxiliary classifier, on real and on synthetic images.

    Args:
        setup: the players; the discriminator has an auxiliary classifier.
        class_weight: weight of the cross-entropy in both players' losses.
    """

    def __init__(self, setup: GameSetup, class_weight: float) -> None:
        super().__init__(setup)
        self._class_weight = class_weight

    def _more_discriminator_terms(self, judged: Judged) -> LossTerms:
        # The mean over real and synthetic ones together, times two: one mean of each.
        return {"class": 2 * self._class_term(judged.features, judged.labels)}

    def _more_generator_terms(self, fake: Tensor, features: Tensor, batch: Batch) -> LossTerms:
        return {"class": self._class_term(features, batch.fake_labels)}

    def _class_term(self, features: Tensor, labels: Tensor) -> Tensor:
        return self._class_weight * F.cross_entropy(self._critic.classify(features), labels)
