"""CTF-GAN's game in both stages: the adversarial game plus, if its weight is positive, consistency with I_L.

Stage 1 (Tasks 2 and 3) plays it with G_LH, stage 2 (Tasks 1 and 3) with G_A behind the frozen G_LH.
"""

from __future__ import annotations

from torch import Tensor

from ctfgan.data.batches import Batch
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
    """

    def __init__(
        self,
        setup: ObjectiveSetup,
        self_supervision: SelfSupervisionSettings | None,
        weight: float,
        size: int,
    ) -> None:
        super().__init__(setup, self_supervision)
        self._weight = weight
        self._size = size

    def _more_generator_terms(self, fake: Tensor, features: Tensor, batch: Batch) -> LossTerms:
        if not self._weight:
            return {}
        assert batch.low_quality is not None
        distance = low_quality_consistency(fake, batch.low_quality, self._size, batch.are_own)
        return {"consistency": self._weight * distance}
