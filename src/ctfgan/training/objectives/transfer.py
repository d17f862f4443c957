"""CTF-GAN's game in both stages: the hinge game plus, if its weight is positive, consistency with I_L.

Stage 1 (Tasks 2 and 3) plays it with G_LH, stage 2 (Tasks 1 and 3) with G_A behind the frozen G_LH.
"""

from __future__ import annotations

import torch
from torch import nn

from ctfgan.data.batches import Batch
from ctfgan.losses import low_quality_consistency
from ctfgan.models.discriminator import Discriminator
from ctfgan.training.objectives.hinge import HingeGame, LossTerms
from ctfgan.training.settings import SelfSupervisionSettings, TransferStageSettings


class TransferGame(HingeGame):
    """A generator that sees low-quality images, against D_LH.

    Args:
        generator: G_LH in stage 1, the whole :class:`~ctfgan.models.generator_a.TransferGenerator` in stage 2.
        matched: whether a low-quality image has the content of its class; if not, there is nothing to be consistent
            with.
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: Discriminator,
        self_supervision: SelfSupervisionSettings | None,
        rng: torch.Generator,
        stage: TransferStageSettings,
        *,
        matched: bool,
    ) -> None:
        super().__init__(generator, discriminator, self_supervision, rng)
        self._weight = stage.consistency if matched else 0.0
        self._size = stage.consistency_size

    def generator_terms(self, batch: Batch) -> LossTerms:
        """Parts of the generator's loss."""
        fake = self._synthesise(batch)
        terms = self._judged(fake, batch)
        if self._weight:
            assert batch.low_quality is not None
            size = min(self._size, batch.low_quality.shape[-1])
            terms["consistency"] = self._weight * low_quality_consistency(fake, batch.low_quality, size)
        return terms
