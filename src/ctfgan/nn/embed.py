"""The Embed of Fig. 3: a linear map of a condition vector or of noise, concatenated to maps."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ctfgan.nn.blocks import linear
from ctfgan.nn.class_tables import ClassSpace


class ConditionEmbedding(nn.Module):
    """``Embed(Concat(gamma, beta, g_L))`` of Eq. 2, computed as ``W [gamma; beta] + E[g_L]`` (decision 5).

    A linear map of a concatenation is a sum of linear maps, and a linear map of a one-hot vector is a table look-up,
    so this equals the paper's form at a cost that does not depend on the number of low-quality labels.

    Shapes: gamma, beta ``(N, T)``; labels as the encoder of their space returns them; returns ``(N, width)``.
    """

    def __init__(self, channels: int, labels: ClassSpace, width: int) -> None:
        super().__init__()
        self.map = linear(2 * channels, width)
        self.table = labels.map(width)

    def forward(self, gamma: Tensor, beta: Tensor, labels: Tensor) -> Tensor:
        return self.map(torch.cat([gamma, beta], dim=1)) + self.table(labels)


class NoiseEmbedding(nn.Module):
    """The Embed of z_m: a linear map to as many maps as z_m has numbers, concatenated to the input of block m.

    Args:
        noise: length of z_m.
        side: H = W of the maps, or 1 for one number a map that is repeated at every place.

    Shapes: maps ``(N, C, H, W)``, z_m ``(N, noise)``; returns ``(N, C + noise, H, W)``.
    """

    def __init__(self, noise: int, side: int) -> None:
        super().__init__()
        self.side = side
        self.map = linear(noise, noise * side**2)

    def forward(self, maps: Tensor, noise: Tensor) -> Tensor:
        embedded = self.map(noise)  # (N, noise * side**2)
        if self.side == 1:
            return concat_tiled(maps, embedded)
        return _concat(maps, embedded.unflatten(1, (-1, self.side, self.side)))


def concat_tiled(maps: Tensor, vectors: Tensor) -> Tensor:
    """Concatenate vectors ``(N, D)``, repeated over H and W, to maps ``(N, C, H, W)``: ``(N, C + D, H, W)``."""
    return _concat(maps, vectors[:, :, None, None].expand(-1, -1, *maps.shape[-2:]))


def _concat(maps: Tensor, more: Tensor) -> Tensor:
    """Both sets of maps, in the order in memory of the first."""
    last = maps.is_contiguous(memory_format=torch.channels_last)
    order = torch.channels_last if last else torch.contiguous_format
    return torch.cat([maps, more.contiguous(memory_format=order)], dim=1)


def conv_tiled(maps: Tensor, vectors: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A 3x3 convolution that keeps the size, of ``concat_tiled(maps, vectors)``.

    The repeated vectors add the same to every pixel, but for those at the border, where part of the kernel looks at
    zeros.

    Args:
        maps: ``(N, C, H, W)``, H and W at least 2.
        vectors: ``(N, D)``.
        weight: ``(O, C + D, 3, 3)``.
        bias: ``(O,)`` or None.

    Returns:
        ``(N, O, H, W)``.
    """
    count = maps.shape[1]
    moving = F.conv2d(maps, weight[:, :count], bias, padding=1)  # (N, O, H, W)
    # All that can happen to a constant map happens on nine pixels: corners, edges, inside.
    nine = F.conv2d(vectors[:, :, None, None].expand(-1, -1, 3, 3), weight[:, count:], padding=1)  # (N, O, 3, 3)
    return moving + _stretched(_stretched(nine, 2, maps.shape[2]), 3, maps.shape[3])


def _stretched(nine: Tensor, dim: int, size: int) -> Tensor:
    """Repeat the middle one of three along an axis until there are ``size``."""
    first, middle, last = nine.split(1, dim)
    shape = [-1] * 4
    shape[dim] = size - 2
    return torch.cat([first, middle.expand(shape), last], dim)
