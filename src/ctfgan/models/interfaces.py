"""What every generator takes and offers, whatever its method."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from ctfgan.distributed.engine import send
from ctfgan.distributed.random_streams import BatchRng


@dataclass(frozen=True)
class Condition:
    """What an image is to be made from."""

    labels: Tensor
    """Class of each image, ``(N,)`` int64."""
    low_quality: Tensor | None = None
    """I_L, ``(N, K, r, r)`` in [-1, 1]; None for methods that use none."""
    low_quality_labels: Tensor | None = None
    """g_L, ``(N,)`` int64; -1 for an image without a label."""
    merged: tuple[Tensor, ...] = ()
    """What the generator has made of all this already; empty for it to do so now."""

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, part: slice) -> Condition:
        if self.low_quality is None or self.low_quality_labels is None:
            return Condition(self.labels[part])
        return Condition(self.labels[part], self.low_quality[part], self.low_quality_labels[part])

    def to(self, device: torch.device) -> Condition:
        """The same on another device."""
        if self.low_quality is None or self.low_quality_labels is None:
            return Condition(self.labels.to(device))
        return Condition(self.labels.to(device), self.low_quality.to(device), self.low_quality_labels.to(device))

    def required_low_quality(self) -> tuple[Tensor, Tensor]:
        """I_L and g_L, for the methods that cannot do without."""
        assert self.low_quality is not None, "this generator needs low-quality images"
        assert self.low_quality_labels is not None, "low-quality images come with labels (-1 for none)"
        return self.low_quality, self.low_quality_labels


class Noise(NamedTuple):
    """Standard normal noise; a part that a generator has no use for has width 0."""

    latent: Tensor
    """z_A, ``(N, noise)``."""
    blocks: Tensor
    """z_1 ... z_M, ``(N, M, block_noise)``."""

    def to(self, device: torch.device) -> Noise:
        """The same on another device."""
        return Noise(send(self.latent, device), send(self.blocks, device))

    def part(self, rows: slice) -> Noise:
        """The noise of some of the images."""
        return Noise(self.latent[rows], self.blocks[rows])


class Generator(Protocol):
    """A network that makes images of given classes."""

    def draw_noise(self, count: int, batch_rng: BatchRng) -> Noise:
        """Noise of ``count`` images, on the CPU so that a seed means the same images on every device."""
        ...

    def __call__(self, condition: Condition, noise: Noise) -> Tensor:
        """Images ``(N, K, R, R)`` in [-1, 1]."""
        ...


def normal_noise(count: int, latent: int, blocks: int, width: int, batch_rng: BatchRng) -> Noise:
    """Noise with ``latent`` and ``blocks`` x ``width`` numbers for each of ``count`` images."""
    flat = batch_rng.normal(count, latent + blocks * width)
    return Noise(flat[:, :latent], flat[:, latent:].reshape(count, blocks, width))
