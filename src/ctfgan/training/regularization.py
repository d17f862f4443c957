"""What keeps a discriminator from learning few images by heart; every method can switch it on, the paper uses none.

Augmentation, LeCam (Tseng et al. 2021), and gradient penalties R1 (Mescheder et al. 2018) and R2, applied lazily.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ctfgan.distributed.batch_rng import BatchRng
from ctfgan.training.augmentation import Augmentation, Mean
from ctfgan.training.settings import LecamSettings, StrengtheningSettings


def squared_gradients(logits: Tensor, images: Tensor) -> Tensor:
    """Squared norm of each image's gradient, ``(N,)``, differentiable.

    Args:
        logits: ``(N,)``; what one owes to the other images of its group (PROG-GAN) counts for those images.
        images: ``(N, K, R, R)``, with ``requires_grad``.
    """
    (gradient,) = torch.autograd.grad(logits.sum(), images, create_graph=True)
    return gradient.square().flatten(1).sum(dim=1)


class Lecam:
    """Keeps the logits of real images near where those of fakes have been, and the other way round (LeCam)."""

    def __init__(self, settings: LecamSettings, mean: Mean) -> None:
        self._settings = settings
        self._mean = mean
        self._anchors: Tensor | None = None  # moving averages of the real and of the fake logits

    def term(self, real_logits: Tensor, fake_logits: Tensor, step: int) -> Tensor | None:
        """The weighted regulariser of discriminator step ``step`` = 1, 2, ..., once the averages are settled; follows
        the logits.
        """
        means = self._mean(torch.stack([real_logits.mean(), fake_logits.mean()]))
        anchors = means if self._anchors is None else torch.lerp(means, self._anchors, self._settings.decay)
        self._anchors = anchors
        if step <= self._settings.from_step:
            return None
        above = F.relu(real_logits - anchors[1]).square().mean()
        below = F.relu(anchors[0] - fake_logits).square().mean()
        return self._settings.weight * (above + below)

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"anchors": None if self._anchors is None else self._anchors.cpu()}

    def restore(self, state: dict[str, Any], device: torch.device) -> None:
        """Continue from a :meth:`state`."""
        self._anchors = None if state["anchors"] is None else state["anchors"].to(device)


class DiscriminatorRegularization:
    """All of it, for the games of one method.

    Args:
        settings: what is switched on.
        batch_rng: of the augmentation.
        mean: over all processes, of what is decided by the logits of the whole batch.

    Attributes:
        augment: the augmentation of images that the discriminator sees.
    """

    def __init__(self, settings: StrengtheningSettings, batch_rng: BatchRng, mean: Mean = Tensor.detach) -> None:
        self.augment = Augmentation(settings.augmentation, batch_rng, mean)
        self._lecam = Lecam(settings.lecam, mean) if settings.lecam.weight else None
        self._penalty = settings.penalty
        self._steps = 0

    def begin_step(self) -> None:
        """A discriminator step begins; its batch may come in parts."""
        self._steps += 1

    def watch(self, images: Tensor) -> None:
        """Ask for the gradient at images ``(N, K, R, R)``, leaves of the graph, if this step is to be penalised."""
        turn = (self._penalty.r1 or self._penalty.r2) and self._steps % self._penalty.every == 0
        images.requires_grad_(bool(turn))

    def terms(self, images: Tensor, real_logits: Tensor, fake_logits: Tensor) -> dict[str, Tensor]:
        """Regularisers of the discriminator's step.

        Args:
            images: what :meth:`watch` saw, real images and then as many fakes.
            real_logits: ``(N/2,)``.
            fake_logits: ``(N/2,)``.
        """
        terms: dict[str, Tensor] = {}
        if images.requires_grad:
            squares = squared_gradients(torch.cat([real_logits, fake_logits]), images)
            real, fake = squares.split([len(real_logits), len(fake_logits)])
            # Weighted by the steps that it stands for (lazy regularisation, Karras et al. 2020).
            terms["r1"] = self._penalty.every * self._penalty.r1 / 2 * real.mean()
            terms["r2"] = self._penalty.every * self._penalty.r2 / 2 * fake.mean()
        self.augment.observe(real_logits)
        lecam = self._lecam.term(real_logits, fake_logits, self._steps) if self._lecam is not None else None
        if lecam is not None:
            terms["lecam"] = lecam
        return terms

    def log_values(self) -> dict[str, float]:
        """The probability of augmentation, while it is steered."""
        return {"augmentation": self.augment.probability} if self.augment.is_steered else {}

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        lecam = None if self._lecam is None else self._lecam.state()
        return {"steps": self._steps, "augmentation": self.augment.state(), "lecam": lecam}

    def restore(self, state: dict[str, Any], device: torch.device) -> None:
        """Continue from a :meth:`state`; what was switched on since begins here."""
        self._steps = state["steps"]
        self.augment.restore(state["augmentation"])
        if self._lecam is not None and state["lecam"] is not None:
            self._lecam.restore(state["lecam"], device)
