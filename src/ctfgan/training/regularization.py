"""What keeps a discriminator from learning few images by heart; every method can switch it on, the paper uses none.

Augmentation of all that it sees, real and synthetic alike and differentiably (DiffAugment, Zhao et al. 2020; with a
``target`` its probability follows the discriminator's overfitting: ADA, Karras et al. 2020), LeCam (Tseng et al. 2021),
and gradient penalties R1 (Mescheder et al. 2018) and R2, applied lazily.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ctfgan.distributed.engine import send
from ctfgan.distributed.random_streams import BatchRng
from ctfgan.training.settings import AugmentationSettings, LecamSettings, StrengtheningSettings

DRAWS = 2  # uniform numbers that an operation may use for an image, besides the one that decides whether it happens

Operation = Callable[[Tensor, Tensor], Tensor]
"""Images ``(N, K, R, R)`` in [-1, 1] and draws ``(N, 2)`` in [0, 1) to images."""


def brightness(images: Tensor, draws: Tensor) -> Tensor:
    """Add the same number in [-0.5, 0.5) to all pixels of an image."""
    return images + (_column(draws, 0) - 0.5)


def contrast(images: Tensor, draws: Tensor) -> Tensor:
    """Scale the distance to the image's mean by a factor in [0.5, 1.5)."""
    mean = images.mean(dim=(1, 2, 3), keepdim=True)
    return (images - mean) * (_column(draws, 0) + 0.5) + mean


def saturation(images: Tensor, draws: Tensor) -> Tensor:
    """Scale the distance to each pixel's grey by a factor in [0, 2); grey images have none."""
    grey = images.mean(dim=1, keepdim=True)
    return (images - grey) * (_column(draws, 0) * 2) + grey


def flip(images: Tensor, draws: Tensor) -> Tensor:
    """Mirror left and right, for half of the images; not for characters."""
    return torch.where(_column(draws, 0) < 0.5, images.flip(3), images)


def translation(images: Tensor, draws: Tensor) -> Tensor:
    """Shift by up to an eighth of the side in x and y; what comes in is middle grey."""
    side = images.shape[-1]
    reach = side // 8
    shift = (draws * (2 * reach + 1)).floor().long() - reach  # (N, 2)
    source = torch.arange(side, device=images.device) - shift[..., None]  # (N, 2, R): x, then y
    inside = (source >= 0) & (source < side)
    source = source.clamp(0, side - 1)
    index = (source[:, 1, :, None] * side + source[:, 0, None, :]).flatten(1)[:, None].expand(-1, images.shape[1], -1)
    moved = images.flatten(2).gather(2, index).view_as(images)
    return moved * (inside[:, 1, :, None] & inside[:, 0, None, :])[:, None]


def cutout(images: Tensor, draws: Tensor) -> Tensor:
    """Grey out a square of half the side; its centre is anywhere, so it may lie half outside."""
    side = images.shape[-1]
    centre = (draws * side).floor()  # (N, 2)
    distance = torch.arange(side, device=images.device) - centre[..., None]  # (N, 2, R)
    inside = (distance >= -(side // 4)) & (distance < side // 4)
    return images * ~(inside[:, 1, :, None] & inside[:, 0, None, :])[:, None]


OPERATIONS: dict[str, Operation] = {
    "brightness": brightness,
    "saturation": saturation,
    "contrast": contrast,
    "flip": flip,
    "translation": translation,
    "cutout": cutout,
}


Mean = Callable[[Tensor], Tensor]
"""Mean over all processes of a statistic that no gradient is wanted of; alone the statistic itself, detached."""


class Augmentation:
    """Applies a policy, each operation to each image with the present probability.

    Args:
        settings: policy and probability.
        batch_rng: of all draws.
        mean: over all processes; what steers the probability is decided by the whole batch.
    """

    def __init__(self, settings: AugmentationSettings, batch_rng: BatchRng, mean: Mean = Tensor.detach) -> None:
        self._settings = settings
        self._batch_rng = batch_rng
        self._mean = mean
        start = settings.probability if settings.target is None else 0.0
        self._probability = torch.tensor(start)

    @property
    def is_steered(self) -> bool:
        """Whether the probability follows the discriminator."""
        return self._settings.target is not None and bool(self._settings.policy)

    @property
    def probability(self) -> float:
        """The present probability of each operation."""
        return self._probability.item()

    def __call__(self, images: Tensor) -> Tensor:
        """Augmented images ``(N, K, R, R)``; gradients flow through."""
        self._probability = self._probability.to(images.device)  # stays there
        for name in self._settings.policy:
            draws = send(self._batch_rng.uniform(len(images), DRAWS + 1), images.device)
            chosen = _column(draws, DRAWS) < self._probability
            images = torch.where(chosen, OPERATIONS[name](images, draws[:, :DRAWS]), images)
        return images

    def observe(self, real_logits: Tensor) -> None:
        """Move the probability by one step's worth: up where more real images are judged real than the target says.

        Args:
            real_logits: this process's own of the last discriminator step, ``(N,)``; the overfitting signal is the mean
                of the signs of everybody's.
        """
        if self._settings.target is None or not self.is_steered:
            return
        signal = self._mean(real_logits.float().sign().mean())
        pace = len(real_logits) * self._batch_rng.processes / self._settings.images_to_full
        moved = self._probability.to(signal.device) + (signal - self._settings.target).sign() * pace
        self._probability = moved.clamp(0, self._settings.probability)

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"probability": self._probability.cpu()}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a :meth:`state`; a probability that is not steered is that of the settings."""
        if self.is_steered:
            self._probability = state["probability"]


def _column(draws: Tensor, number: int) -> Tensor:
    return draws[:, number, None, None, None]


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
