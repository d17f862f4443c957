"""The game of a generator against a discriminator, with or without Task 3.

SN-GAN, with or without classes, is this game as it stands; other methods add terms of their own: a class
(classified.py), consistency with a low-quality image (transfer.py), growth (growing.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from ctfgan.data.batches import Batch
from ctfgan.distributed.engine import send
from ctfgan.distributed.random_streams import BatchRng
from ctfgan.models.interfaces import Condition, Generator
from ctfgan.training.losses import ADVERSARIAL_LOSSES, AdversarialLoss, box_distance
from ctfgan.training.regularization import DiscriminatorRegularization
from ctfgan.training.settings import SelfSupervisionSettings, StrengtheningSettings

LossTerms = dict[str, Tensor]
"""Named, weighted parts of a player's loss; their sum is what the player minimises."""


class Critic(Protocol):
    """What a game asks of a discriminator."""

    def features(self, images: Tensor, labels: Tensor) -> Tensor:
        """What the heads read, of images ``(N, K, R, R)`` in [-1, 1] and labels ``(N,)``."""
        ...

    def judge(self, features: Tensor, labels: Tensor) -> Tensor:
        """Logits ``(N,)``; high means real."""
        ...

    def classify(self, features: Tensor, candidates: Tensor) -> Tensor:
        """Logits ``(N, L)`` for classes ``(L,)``, where there is an auxiliary classifier."""
        ...

    def locate(self, features: Tensor) -> Tensor:
        """Boxes ``(N, 4)`` of pasted patches, where there is a box head."""
        ...


@dataclass(frozen=True)
class Judged:
    """What the discriminator made of real and synthetic images in one pass."""

    images: Tensor
    """Before augmentation: N real ones, then N synthetic ones."""
    labels: Tensor
    """Their classes, ``(2N,)``."""
    features: Tensor
    """Of the images as augmented, for any head."""
    real_logits: Tensor
    """``(N,)``."""
    fake_logits: Tensor
    """``(N,)``."""


@dataclass(frozen=True)
class ObjectiveSetup:
    """The two players of an objective, their loss, and what helps the discriminator; the defaults are the paper's."""

    generator: nn.Module
    """The network that learns to synthesise; its frozen parts stay as they are."""
    discriminator: nn.Module
    """A :class:`Critic`."""
    loss: AdversarialLoss = ADVERSARIAL_LOSSES["hinge"]
    batch_rng: BatchRng = field(default_factory=lambda: BatchRng.of(0))
    """Of noise and patches."""
    strengthening: DiscriminatorRegularization | None = None
    """Augmentation and regularisers of the discriminator; None for none."""


class AdversarialObjective:
    """Losses of both players for one batch; one joint pass of the discriminator judges all images of a step.

    Args:
        setup: the players, and what they play.
        self_supervision: Task 3's weights; None if the discriminator has no box head.

    Attributes:
        logits: of real and of synthetic images in the last discriminator step (the last part of its batch), ``(N,)``
            each, without a gradient; None before the first.
    """

    def __init__(self, setup: ObjectiveSetup, self_supervision: SelfSupervisionSettings | None = None) -> None:
        self.generator = setup.generator
        self.discriminator = setup.discriminator
        self._critic = cast(Critic, setup.discriminator)
        self._loss = setup.loss
        no_help = StrengtheningSettings()
        self._strengthening = setup.strengthening or DiscriminatorRegularization(no_help, setup.batch_rng)
        self._batch_rng = setup.batch_rng
        self._self_supervision = self_supervision
        self.logits: tuple[Tensor, Tensor] | None = None

    @property
    def won(self) -> float | None:
        """The discriminator's adversarial loss once it has nothing left to learn, if there is such a point."""
        return self._loss.won

    def advance(self, progress: float) -> None:
        """Told before every generator step how far its stage is, 0 ... 1; most games do not change on the way."""

    def conditioned(self, batch: Batch) -> Batch:
        """The batch of a discriminator step, or its real images beside what an earlier step synthesised images of."""
        return batch

    def begin_discriminator_step(self) -> None:
        """Told before every discriminator step, whose batch may come in parts."""
        self._strengthening.begin_step()

    def discriminator_terms(self, batch: Batch) -> LossTerms:
        """Parts of the discriminator's loss."""
        with torch.no_grad():
            fake = self._synthesise(batch)
        count = len(fake)
        real = self._real(batch)
        both = torch.cat([real, fake])
        labels = torch.cat([batch.real_labels, batch.fake_labels])
        self._strengthening.watch(both)
        images, image_labels, boxes = [self._strengthening.augment(both)], [labels], []
        if self._self_supervision is not None:
            for part, part_labels in ((real, batch.real_labels), (fake, batch.fake_labels)):
                pasted, box = self._pasted(part, batch)
                images.append(pasted)
                image_labels.append(part_labels[: len(pasted)])
                boxes.append(box)
        features = self._critic.features(torch.cat(images), torch.cat(image_labels))
        real_logits, fake_logits = self._judge(features[: 2 * count], labels).split(count)
        self.logits = real_logits.detach(), fake_logits.detach()
        terms = {"adversarial": self._loss.discriminator(real_logits, fake_logits)}
        terms |= self._strengthening.terms(both, real_logits, fake_logits)
        terms |= self._more_discriminator_terms(Judged(both, labels, features[: 2 * count], real_logits, fake_logits))
        if self._self_supervision is not None:
            located = self._critic.locate(features[2 * count :])
            terms["box"] = self._self_supervision.discriminator_weight * box_distance(located, torch.cat(boxes))
        return terms

    def generator_terms(self, batch: Batch) -> LossTerms:
        """Parts of the generator's loss."""
        fake = self._synthesise(batch)
        supervised = self._self_supervision is not None and self._self_supervision.generator_weight > 0
        images, labels = [self._strengthening.augment(fake)], [batch.fake_labels]
        if supervised:
            pasted, boxes = self._pasted(fake, batch)
            images.append(pasted)
            labels.append(batch.fake_labels[: len(pasted)])
        features = self._critic.features(torch.cat(images), torch.cat(labels))
        judged = features[: len(fake)]
        fake_logits = self._judge(judged, batch.fake_labels)
        terms = {"adversarial": self._loss.generator(self._real_logits(batch), fake_logits)}
        terms |= self._more_generator_terms(fake, judged, batch)
        if self._self_supervision is not None and supervised:
            distance = box_distance(self._critic.locate(features[len(fake) :]), boxes)
            terms["box"] = self._self_supervision.generator_weight * distance
        return terms

    def log_values(self) -> dict[str, float]:
        """What a journal should hold besides the losses."""
        return self._strengthening.log_values()

    def state(self) -> dict[str, Any]:
        """For a checkpoint: what is neither in the networks nor in the optimisers."""
        return self._strengthening.state()

    def restore(self, state: dict[str, Any], device: torch.device) -> None:
        """Continue from a :meth:`state`."""
        self._strengthening.restore(state, device)

    def _more_discriminator_terms(self, judged: Judged) -> LossTerms:
        return {}

    def _more_generator_terms(self, fake: Tensor, features: Tensor, batch: Batch) -> LossTerms:
        """Terms of synthetic images ``(N, K, R, R)`` and of what the discriminator's heads read of them."""
        return {}

    def _real(self, batch: Batch) -> Tensor:
        """The real images as the discriminator is to see them."""
        return batch.real

    def _real_logits(self, batch: Batch) -> Tensor | None:
        if not self._loss.generator_sees_real:
            return None
        with torch.no_grad():
            features = self._critic.features(self._strengthening.augment(self._real(batch)), batch.real_labels)
            return self._judge(features, batch.real_labels)

    def _judge(self, features: Tensor, labels: Tensor) -> Tensor:
        """Logits ``(N,)``, never in bfloat16: means of losses and moving averages need more than its 8 bits."""
        logits = self._critic.judge(features, labels)
        return logits.float() if logits.dtype == torch.bfloat16 else logits

    def _synthesise(self, batch: Batch) -> Tensor:
        generator = cast(Generator, self.generator)
        condition = Condition(batch.fake_labels, batch.low_quality, batch.low_quality_labels, batch.merged)
        noise = generator.draw_noise(len(condition), self._batch_rng)
        return generator(condition, noise.to(batch.real.device))

    def _pasted(self, images: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """The first images of a batch with patches of other real ones, and the boxes."""
        assert self._self_supervision is not None
        count = max(1, int(self._self_supervision.share * len(images)))
        # Half a batch away: where several processes share a batch of an even number of images for each, the donor is
        # the same process's, and the same as in the whole batch on one process.
        donors = torch.roll(batch.real, len(batch.real) // 2, dims=0)[:count]
        return paste_patches(images[:count], donors, self._batch_rng)


def paste_patches(images: Tensor, donors: Tensor, batch_rng: BatchRng) -> tuple[Tensor, Tensor]:
    """Paste a rectangle of each donor into each image (decision 10).

    The sides are uniform in [R/4, R/2] pixels, and so are the places in the donor and in the image.

    Args:
        images: ``(N, K, R, R)``; not changed.
        donors: ``(N, K, R, R)``, real high-quality images.
        batch_rng: of sides and places.

    Returns:
        The pasted images ``(N, K, R, R)``, and the boxes ``(N, 4)`` = (x0, y0, x1, y1) / R in [0, 1]; pixel columns
        x0 ... x1 - 1 and rows y0 ... y1 - 1 are the donor's.
    """
    count, side = len(images), images.shape[-1]
    sides = batch_rng.integers(side // 4, side // 2 + 1, count, 2)  # x, then y
    room = side - sides
    # Floor of uniform * (room + 1) is uniform on 0 ... room for every image's own room.
    start = (batch_rng.uniform(count, 2) * (room + 1)).long()
    source = (batch_rng.uniform(count, 2) * (room + 1)).long()
    # All that follows happens where the images are; six numbers for each image are sent there.
    start, source, sides = send(torch.stack([start, source, sides]), images.device)
    pixels = torch.arange(side, device=images.device)
    inside = (pixels >= start[..., None]) & (pixels < (start + sides)[..., None])  # (N, 2, R)
    moved = (pixels - start[..., None] + source[..., None]).clamp(0, side - 1)
    mask = (inside[:, 1, :, None] & inside[:, 0, None, :])[:, None]  # (N, 1, R, R)
    index = moved[:, 1, :, None] * side + moved[:, 0, None, :]  # (N, R, R)
    flat = index.flatten(1)[:, None].expand(-1, images.shape[1], -1)
    patches = donors.flatten(2).gather(2, flat).view_as(donors)
    boxes = torch.cat([start, start + sides], dim=1) / side
    return torch.where(mask, patches, images), boxes
