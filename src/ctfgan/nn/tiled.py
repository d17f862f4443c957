"""A convolution over maps and a vector that is repeated at every pixel, without repeating it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


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
    moving = F.conv2d(maps, weight[:, :count], bias, padding=1)
    # All that can happen to a constant map happens on nine pixels: corners, edges, inside.
    nine = F.conv2d(vectors[:, :, None, None].expand(-1, -1, 3, 3), weight[:, count:], padding=1)
    return moving + _stretched(_stretched(nine, 2, maps.shape[2]), 3, maps.shape[3])


def _stretched(nine: Tensor, dim: int, size: int) -> Tensor:
    """Repeat the middle one of three along an axis until there are ``size``."""
    first, middle, last = nine.split(1, dim)
    shape = [-1] * 4
    shape[dim] = size - 2
    return torch.cat([first, middle.expand(shape), last], dim)
