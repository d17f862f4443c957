"""Convolution, linear and embedding layers: Glorot initialisation and spectral norm in one place.

Initialisation is that of SN-GAN+Projection (Miyato and Koyama 2018): Glorot uniform, zero bias, gain sqrt(2) for the
3x3 convolutions inside residual blocks and 1 everywhere else. Spectral norm runs one power iteration per forward.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeVar

from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

RESIDUAL_GAIN = math.sqrt(2)

Layer = TypeVar("Layer", nn.Conv2d, nn.Linear)
AnyLayer = TypeVar("AnyLayer", bound=nn.Module)

Initialiser = Callable[[Tensor], object]
"""Fills a tensor in place."""


def conv(
    inputs: int, outputs: int, size: int = 3, *, stride: int = 1, gain: float = 1.0, normalised: bool = False
) -> nn.Conv2d:
    """Convolution with an odd ``size`` that keeps H and W at stride 1; ``normalised`` puts it under spectral norm."""
    layer = nn.Conv2d(inputs, outputs, size, stride=stride, padding=size // 2)
    return _finished(layer, gain, normalised)


def linear(inputs: int, outputs: int, *, bias: bool = True, normalised: bool = False) -> nn.Linear:
    """Linear layer, ``(N, inputs)`` to ``(N, outputs)``."""
    return _finished(nn.Linear(inputs, outputs, bias=bias), 1.0, normalised)


def embedding(
    rows: int, width: int, *, normalised: bool = False, init: Initialiser = nn.init.xavier_uniform_
) -> nn.Embedding:
    """Table of ``rows`` vectors, int64 ids ``(N,)`` to ``(N, width)``."""
    layer = nn.Embedding(rows, width)
    init(layer.weight)
    return _normalised(layer) if normalised else layer


def _finished(layer: Layer, gain: float, normalised: bool) -> Layer:
    nn.init.xavier_uniform_(layer.weight, gain=gain)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return _normalised(layer) if normalised else layer


def _normalised(layer: AnyLayer) -> AnyLayer:
    spectral_norm(layer, eps=1e-12)
    return layer
