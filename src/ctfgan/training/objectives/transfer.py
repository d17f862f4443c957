"""Stage 1: Tasks 2 and 3, G_LH against D_LH. The hinge game plus, if its weight is positive, consistency with I_L."""

from __future__ import annotations

import torch

from ctfgan.data.batches import Batch
from ctfgan.losses import low_quality_consistency
from ctfgan.models.discriminator import Discriminator
from ctfgan.models.generator_lh import GeneratorLH
from ctfgan.training.objectives.hinge import HingeGame, LossTerms
from ctfgan.training.settings import SelfSupervisionSettings


class TransferGame(HingeGame):
    """G_LH turns a low-quality image into a high-quality image of a class.

    Args:
        consistency: weight of decision 16's term; 0 is the paper's loss.
        consistency_size: side at which the output and I_L are compared.
    """

    def __init__(
        self,
        generator: GeneratorLH,
        discriminator: Discriminator,
        self_supervision: SelfSupervisionSettings | None,
        rng: torch.Generator,
        *,
        consistency: float,
        consistency_size: int,
    ) -> None:
        super().__init__(generator, discriminator, self_supervision, rng)
        self._consistency = consistency
        self._consistency_size = consistency_size

    def generator_terms(self, batch: Batch) -> LossTerms:
        """Parts of G_LH's loss."""
        fake = self._synthesise(batch)
        terms = self._judged(fake, batch)
        if self._consistency:
            assert batch.low_quality is not None
            distance = low_quality_consistency(fake, batch.low_quality, self._consistency_size)
            terms["consistency"] = self._consistency * distance
        return terms
