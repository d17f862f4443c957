"""Augmenting what the discriminator sees, real and synthetic alike and differentiably (DiffAugment, Zhao et al. 2020).

With a ``target`` the probability follows the discriminator's overfitting (ADA, Karras et al. 2020).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ctfgan.distributed.batch_rng import BatchRng
from ctfgan.distributed.engine import send
from ctfgan.training.settings import AugmentationSettings

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
