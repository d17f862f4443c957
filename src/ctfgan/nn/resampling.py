"""Convolutions next to a change of size, computed in the order that costs a quarter.

Nearest upscaling is zero-stuffing and then a 2x2 sum; average pooling is a 2x2 mean and then every second pixel. Sums
over a neighbourhood commute with a convolution, so the kernel can work at the small size: 9 products for each *small*
pixel instead of 36, for the same result, borders included. The kernel stays the 3x3 one.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def unpool(maps: Tensor) -> Tensor:
    """Nearest upscaling by two, ``(N, C, H, W)`` to ``(N, C, 2H, 2W)``."""
    return F.interpolate(maps, scale_factor=2.0, mode="nearest")


def unpool_conv(maps: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """:func:`unpool`, then a 3x3 convolution that keeps the size: ``(N, C, H, W)`` to ``(N, D, 2H, 2W)``.

    Args:
        maps: ``(N, C, H, W)``.
        weight: ``(D, C, 3, 3)``.
        bias: ``(D,)`` or None.
    """
    # A transposed convolution applies the kernel mirrored; the 4 turns the mean of the pool into the sum.
    mirrored = 4 * weight.flip(2, 3).transpose(0, 1)
    spread = F.conv_transpose2d(maps, mirrored, stride=2)  # (N, D, 2H + 1, 2W + 1)
    summed = F.avg_pool2d(spread, 2, stride=1)
    # Not inside the transposed convolution: with a bias, its kernel for the CPU is several times slower at odd sizes.
    return summed if bias is None else summed + bias[:, None, None]


def conv_pool(maps: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """A 3x3 convolution that keeps the size, then 2x2 average pooling: ``(N, C, H, W)`` to ``(N, D, H // 2, W // 2)``.

    Args:
        maps: ``(N, C, H, W)``.
        weight: ``(D, C, 3, 3)``.
        bias: ``(D,)`` or None.
    """
    means = F.avg_pool2d(maps, 2, stride=1, padding=1)  # (N, C, H + 1, W + 1); the zeros around count
    return F.conv2d(means, weight, bias, stride=2)
