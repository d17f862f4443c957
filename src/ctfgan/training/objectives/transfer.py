"""CTF-GAN's game in both stages: the adversarial game plus, if its weight is positive, consistency with I_L.

Stage 1 (Tasks 2 and 3) plays it with G_LH, stage 2 (Tasks 1 and 3) with G_A behind the frozen G_LH.
"""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import torch
from torch import Tensor

from ctfgan.data.batches import Batch
from ctfgan.models.ctf_gan import TransferGenerator
from ctfgan.models.interfaces import Condition
from ctfgan.training.losses import low_quality_consistency
from ctfgan.training.objectives.adversarial import AdversarialObjective, LossTerms, ObjectiveSetup
from ctfgan.training.settings import SelfSupervisionSettings


class TransferObjective(AdversarialObjective):
    """A generator that sees low-quality images, against D_LH.

    Args:
        setup: the generator is G_LH in stage 1, the whole :class:`~ctfgan.models.ctf_gan.TransferGenerator` in
            stage 2.
        self_supervision: Task 3's weights; None if the discriminator has no box head.
        weight: of the consistency; 0 where low-quality images have not the content of their class, since there is
            nothing to be consistent with then.
        size: at which it looks, at most I_L's own.
        shares: whether the discriminator's steps before one of the generator share classes, I_L and z_m, whose features
            are then made and merged once; z_A is new in each (decision 35).
    """

    def __init__(
        self,
        setup: ObjectiveSetup,
        self_supervision: SelfSupervisionSettings | None,
        weight: float,
        size: int,
        shares: bool = False,
    ) -> None:
        super().__init__(setup, self_supervision)
        self._weight = weight
        self._size = size
        self._shares = shares
        self._shared: Batch | None = None

    def advance(self, progress: float) -> None:
        """Forget the conditions of the last steps."""
        self._shared = None

    def conditioned(self, batch: Batch) -> Batch:
        """With conditions whose features are made already, if the discriminator's steps share them."""
        if not self._shares:
            return batch
        if self._shared is None:
            self._shared = replace(batch, merged=self._merged(batch))
        return batch.with_conditions_of(self._shared)

    @torch.no_grad()
    def _merged(self, batch: Batch) -> tuple[Tensor, ...]:
        generator = cast(TransferGenerator, self.generator)
        condition = Condition(batch.fake_labels, batch.low_quality, batch.low_quality_labels)
        noise = generator.draw_noise(len(condition), self._batch_rng)
        return generator.merged(condition, noise.to(batch.real.device))

    def _more_generator_terms(self, fake: Tensor, features: Tensor, batch: Batch) -> LossTerms:
        if not self._weight:
            return {}
        assert batch.low_quality is not None
        distance = low_quality_consistency(fake, batch.low_quality, self._size, batch.are_own)
        return {"consistency": self._weight * distance}
