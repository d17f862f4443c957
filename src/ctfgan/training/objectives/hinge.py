"""The hinge game of a class-conditional generator against a projection discriminator, with or without Task 3.

SN-GAN+Projection is this game as it stands, without Task 3; CTF-GAN's two stages extend it (transfer.py).
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from ctfgan.data.batches import Batch
from ctfgan.losses import box_distance, hinge_discriminator, hinge_generator
from ctfgan.models.discriminator import Discriminator
from ctfgan.models.interfaces import Condition, Generator
from ctfgan.training.self_supervision import paste_patches
from ctfgan.training.settings import SelfSupervisionSettings

LossTerms = dict[str, Tensor]
"""Named, weighted parts of a player's loss; their sum is what the player minimises."""


class HingeGame:
    """Losses of both players for one batch.

    Args:
        generator: the network that learns to synthesise; its frozen parts stay as they are.
        discriminator: D_LH; one joint pass judges real, synthetic and pasted images.
        self_supervision: Task 3's weights; None if the discriminator has no box head.
        rng: CPU generator of noise and patches.
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: Discriminator,
        self_supervision: SelfSupervisionSettings | None,
        rng: torch.Generator,
    ) -> None:
        self.generator = generator
        self.discriminator = discriminator
        self._self_supervision = self_supervision
        self._rng = rng

    def discriminator_terms(self, batch: Batch) -> LossTerms:
        """Parts of the discriminator's loss."""
        with torch.no_grad():
            fake = self._synthesise(batch)
        count = len(fake)
        images = [batch.real, fake]
        boxes = []
        if self._self_supervision is not None:
            for pasted, box in (self._pasted(batch.real, batch), self._pasted(fake, batch)):
                images.append(pasted)
                boxes.append(box)
        maps = self.discriminator.features(torch.cat(images))
        labels = torch.cat([batch.real_labels, batch.fake_labels])
        real_logits, fake_logits = self.discriminator.judge(maps[: 2 * count], labels).split(count)
        terms = {"adversarial": hinge_discriminator(real_logits, fake_logits)}
        if self._self_supervision is not None:
            located = self.discriminator.locate(maps[2 * count :])
            terms["box"] = self._self_supervision.discriminator_weight * box_distance(located, torch.cat(boxes))
        return terms

    def generator_terms(self, batch: Batch) -> LossTerms:
        """Parts of the generator's loss."""
        return self._judged(self._synthesise(batch), batch)

    def _synthesise(self, batch: Batch) -> Tensor:
        generator = cast(Generator, self.generator)
        condition = Condition(batch.fake_labels, batch.low_quality, batch.low_quality_labels)
        noise = generator.draw_noise(len(condition), self._rng)
        return generator(condition, noise.to(batch.real.device))

    def _judged(self, fake: Tensor, batch: Batch) -> LossTerms:
        if self._self_supervision is None or self._self_supervision.generator_weight == 0:
            return {"adversarial": hinge_generator(self.discriminator(fake, batch.fake_labels))}
        pasted, boxes = self._pasted(fake, batch)
        maps = self.discriminator.features(torch.cat([fake, pasted]))
        logits = self.discriminator.judge(maps[: len(fake)], batch.fake_labels)
        distance = box_distance(self.discriminator.locate(maps[len(fake) :]), boxes)
        return {
            "adversarial": hinge_generator(logits),
            "box": self._self_supervision.generator_weight * distance,
        }

    def _pasted(self, images: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """The first images of a batch with patches of other real ones, and the boxes."""
        assert self._self_supervision is not None
        count = max(1, int(self._self_supervision.share * len(images)))
        donors = torch.roll(batch.real, 1, dims=0)[:count]
        return paste_patches(images[:count], donors, self._rng)
