"""Convolutions and linear layers, and the residual blocks that are made of them (Miyato and Koyama 2018, appendix).

Initialisation is that of SN-GAN+Projection: Glorot uniform, zero bias, gain sqrt(2) for the 3x3 convolutions inside
residual blocks and 1 everywhere else. Spectral norm runs one power iteration per forward.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from ctfgan.nn.resampling import conv_pool, unpool, unpool_conv

RESIDUAL_GAIN = math.sqrt(2)

WeightLayer = TypeVar("WeightLayer", nn.Conv2d, nn.Linear)
AnyLayer = TypeVar("AnyLayer", bound=nn.Module)


def conv(
    inputs: int,
    outputs: int,
    size: int = 3,
    *,
    stride: int = 1,
    gain: float = 1.0,
    bias: bool = True,
    normalised: bool = False,
) -> nn.Conv2d:
    """Convolution with an odd ``size`` that keeps H and W at stride 1; ``normalised`` puts it under spectral norm."""
    layer = nn.Conv2d(inputs, outputs, size, stride=stride, padding=size // 2, bias=bias)
    return _initialised(layer, gain, normalised)


def linear(inputs: int, outputs: int, *, bias: bool = True, normalised: bool = False) -> nn.Linear:
    """Linear layer, ``(N, inputs)`` to ``(N, outputs)``."""
    return _initialised(nn.Linear(inputs, outputs, bias=bias), 1.0, normalised)


def spectrally_normalised(layer: AnyLayer) -> AnyLayer:
    """The same layer; from now on its ``weight`` has spectral norm 1."""
    spectral_norm(layer, eps=1e-12)
    return layer


def _initialised(layer: WeightLayer, gain: float, normalised: bool) -> WeightLayer:
    nn.init.xavier_uniform_(layer.weight, gain=gain)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return spectrally_normalised(layer) if normalised else layer


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
