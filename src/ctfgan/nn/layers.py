"""Convolutions and linear layers: Glorot initialisation and spectral norm in one place.

Initialisation is that of SN-GAN+Projection (Miyato and Koyama 2018): Glorot uniform, zero bias, gain sqrt(2) for the
3x3 convolutions inside residual blocks and 1 everywhere else. Spectral norm runs one power iteration per forward.
"""

from __future__ import annotations

import math
from typing import TypeVar

from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

RESIDUAL_GAIN = math.sqrt(2)

WeightLayer = TypeVar("WeightLayer", nn.Conv2d, nn.Linear)
AnyLayer = TypeVar("AnyLayer", bound=nn.Module)


def conv(
    inputs: int, outputs: int, size: int = 3, *, stride: int = 1, gain: float = 1.0, normalised: bool = False
) -> nn.Conv2d:
    """Convolution with an odd ``size`` that keeps H and W at stride 1; ``normalised`` puts it under spectral norm."""
    layer = nn.Conv2d(inputs, outputs, size, stride=stride, padding=size // 2)
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
