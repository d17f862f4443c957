"""Images from a generator, for checks, samples and figures alike."""

from __future__ import annotations

from math import ceil
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from ctfgan.chance import Chance
from ctfgan.data.images import Bytes, to_bytes
from ctfgan.data.pairing import LowQualityBank
from ctfgan.models.interfaces import Condition, Generator

CHUNK = 250  # images per forward; large enough for speed, small enough for memory


def draw_condition(labels: Tensor, bank: LowQualityBank | None, seed: int) -> Condition:
    """The condition of images of some classes; the seed chooses their low-quality images."""
    if bank is None:
        return Condition(labels)
    return Condition(labels, *bank.draw(labels, Chance.of(seed)))


@torch.no_grad()
def synthesise(network: nn.Module, condition: Condition, seed: int, device: torch.device) -> Bytes:
    """Images of a condition, uint8 ``(N, R, R, K)``; the same for the same seed, whatever the chunk size.

    Args:
        network: a :class:`~ctfgan.models.interfaces.Generator`; its mode is left as it was.
        condition: classes and low-quality images.
        seed: of the noise.
        device: where the network is.
    """
    generator = cast(Generator, network)
    noise = generator.draw_noise(len(condition), Chance.of(seed))
    was_training = network.training
    network.eval()
    parts = []
    for start in range(0, len(condition), CHUNK):
        rows = slice(start, start + CHUNK)
        parts.append(to_bytes(generator(condition[rows].to(device), noise.part(rows).to(device))))
    network.train(was_training)
    return np.concatenate(parts)


def balanced_labels(count: int, num_classes: int) -> Tensor:
    """Labels that give every class the same number of images: ``count`` of them, rounded up to full rounds.

    For fewer images than classes: one image for each of ``count`` classes, spread evenly over all.
    """
    if count < num_classes:
        return torch.arange(count) * num_classes // count
    return torch.arange(ceil(count / num_classes) * num_classes) % num_classes
