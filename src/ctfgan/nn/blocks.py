"""Residual blocks of the generators and of the discriminator (Miyato and Koyama 2018, appendix)."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from ctfgan.nn.layers import RESIDUAL_GAIN, conv
from ctfgan.nn.resampling import conv_pool, unpool, unpool_conv


class GeneratorBlock(nn.Module):
    """ResBlock + Unpool: norm, ReLU, x2, conv, norm, ReLU, conv; shortcut x2 and 1x1 conv.

    Shapes: maps ``(N, inputs, H, W)``, classes as the norm layers take them; returns ``(N, outputs, 2H, 2W)``.

    Args:
        norm: makes the norm layer of a channel count; called twice. Its layers take ``(maps, classes)``.
    """

    def __init__(self, inputs: int, outputs: int, norm: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.norm_1 = norm(inputs)
        self.conv_1 = conv(inputs, outputs, gain=RESIDUAL_GAIN)
        self.norm_2 = norm(outputs)
        self.conv_2 = conv(outputs, outputs, gain=RESIDUAL_GAIN)
        self.shortcut = conv(inputs, outputs, size=1)

    def forward(self, maps: Tensor, classes: Tensor | None) -> Tensor:
        hidden = F.relu(self.norm_1(maps, classes))  # (N, inputs, H, W)
        hidden = unpool_conv(hidden, self.conv_1.weight, self.conv_1.bias)  # (N, outputs, 2H, 2W)
        hidden = self.conv_2(F.relu(self.norm_2(hidden, classes)))  # (N, outputs, 2H, 2W)
        # A 1x1 convolution commutes with nearest upscaling; this order costs a quarter.
        return hidden + unpool(self.shortcut(maps))


class DiscriminatorBlock(nn.Module):
    """ReLU, conv, ReLU, conv, and a 2x2 average pool if ``down``; convolutions under spectral norm if ``normalised``.

    The first block of a discriminator (``first``) has no ReLU at its input, which is an image.

    Shapes: maps ``(N, inputs, H, W)``; returns ``(N, outputs, H/2, W/2)`` if ``down``, else ``(N, outputs, H, W)``.
    """

    def __init__(self, inputs: int, outputs: int, *, down: bool, first: bool = False, normalised: bool) -> None:
        super().__init__()
        hidden = outputs if first else inputs
        self.down = down
        self.first = first
        self.conv_1 = conv(inputs, hidden, gain=RESIDUAL_GAIN, normalised=normalised)
        self.conv_2 = conv(hidden, outputs, gain=RESIDUAL_GAIN, normalised=normalised)
        learned = down or inputs != outputs
        self.shortcut = conv(inputs, outputs, size=1, normalised=normalised) if learned else nn.Identity()

    def forward(self, maps: Tensor) -> Tensor:
        hidden = maps if self.first else F.relu(maps)
        hidden = F.relu(self.conv_1(hidden))  # (N, inputs or, in the first block, outputs, H, W)
        if not self.down:
            return self.conv_2(hidden) + self.shortcut(maps)
        # Average pooling commutes with a 1x1 convolution; pooling first costs a quarter.
        return conv_pool(hidden, self.conv_2.weight, self.conv_2.bias) + self.shortcut(F.avg_pool2d(maps, 2))
