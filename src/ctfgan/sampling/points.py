"""Images one by one, each known by its class and a seed of its own, and the way from one to another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from ctfgan.data.pairing import LowQualityBank
from ctfgan.distributed.batch_rng import BatchRng
from ctfgan.models.interfaces import Condition, Generator, Noise
from ctfgan.models.synthesis import draw_condition

SAME_DIRECTION = 1e-4  # radians; between closer vectors a straight line is as good as an arc


class Point(NamedTuple):
    """One image that a model can make, whatever else is made with it."""

    class_name: str | None
    """None for a generator without classes."""
    seed: int
    """Of its noise and of its low-quality image from the bank."""


def conditions(labels: Tensor, seeds: Sequence[int], bank: LowQualityBank | None) -> Condition:
    """The condition of each of N images as a draw of its own seed gives it.

    Args:
        labels: ``(N,)`` int64.
        seeds: N of them.
        bank: of low-quality images; None for a method that uses none.
    """
    if bank is None:
        return Condition(labels)
    drawn = [draw_condition(label[None], bank, seed) for label, seed in zip(labels, seeds, strict=True)]
    images, own = zip(*(one.required_low_quality() for one in drawn), strict=True)
    return Condition(labels, torch.cat(images), torch.cat(own))


def noises(generator: Generator, seeds: Sequence[int]) -> Noise:
    """The noise of each of N images as a draw of its own seed gives it."""
    drawn = [generator.draw_noise(1, BatchRng.of(seed)) for seed in seeds]
    return Noise(torch.cat([one.latent for one in drawn]), torch.cat([one.blocks for one in drawn]))


def arc(ends: Noise, positions: Tensor) -> Noise:
    """Spherical interpolation of the noise of two images, all of an image's numbers taken as one vector.

    A straight line between two normal vectors passes closer to the origin than normal vectors ever are, where a
    generator has seen nothing (White 2016, "Sampling generative networks").

    Args:
        ends: of two images.
        positions: ``(S,)`` in [0, 1].

    Returns:
        Of S images; at 0 and 1 the ends themselves.
    """
    latent, blocks = ends.latent.shape[1], ends.blocks.shape[1:]
    flat = torch.cat([ends.latent, ends.blocks.flatten(1)], dim=1).double()
    directions = torch.nn.functional.normalize(flat, dim=1)
    angle = torch.arccos((directions[0] @ directions[1]).clamp(-1, 1))
    steps = positions.double()
    if angle < SAME_DIRECTION:
        weights = torch.stack([1 - steps, steps], dim=1)
    else:
        weights = torch.stack([((1 - steps) * angle).sin(), (steps * angle).sin()], dim=1) / angle.sin()
    between = (weights @ flat).float()
    return Noise(between[:, :latent], between[:, latent:].unflatten(1, blocks))
