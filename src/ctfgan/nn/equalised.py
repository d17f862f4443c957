"""The layers of progressive growing (Karras et al. 2018, section 4): equalised learning rate, pixel norm, deviation.

An equalised layer keeps weights v ~ N(0, 1) and computes with ``w = v * gain / sqrt(fan_in)``. It starts as He et al.
(2015) would start it, but Adam, whose steps do not know a weight's scale, then moves all layers equally fast.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ctfgan.nn.class_tables import ClassSpace
from ctfgan.nn.embed import concat_tiled
from ctfgan.nn.resampling import unpool_conv

HE_GAIN = math.sqrt(2)
"""Gain of a layer that a (leaky) ReLU follows."""

DEVIATION_GROUP = 4
EPSILON = 1e-8


class EqualisedConv2d(nn.Module):
    """Convolution with an odd ``size`` that keeps H and W, equalised; bias 0 at first.

    Shapes: ``(N, inputs, H, W)``; returns ``(N, outputs, H, W)``.
    """

    def __init__(self, inputs: int, outputs: int, size: int = 3, *, gain: float = HE_GAIN) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, size, size))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.scale = gain / math.sqrt(inputs * size**2)
        self.padding = size // 2

    def forward(self, maps: Tensor) -> Tensor:
        return F.conv2d(maps, self.weight * self.scale, self.bias, padding=self.padding)

    def unpooled(self, maps: Tensor) -> Tensor:
        """The layer, of size 3, on maps upscaled by two: ``(N, inputs, H, W)`` to ``(N, outputs, 2H, 2W)``."""
        return unpool_conv(maps, self.weight * self.scale, self.bias)


class EqualisedLinear(nn.Module):
    """Linear layer, equalised; bias 0 at first.

    Shapes: ``(N, inputs)``; returns ``(N, outputs)``.
    """

    def __init__(self, inputs: int, outputs: int, *, gain: float = HE_GAIN) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.scale = gain / math.sqrt(inputs)

    def forward(self, vectors: Tensor) -> Tensor:
        return F.linear(vectors, self.weight * self.scale, self.bias)


class EqualisedClassHead(nn.Module):
    """Linear layer with one output per class, equalised; computes only the outputs that are asked for.

    Shapes: vectors ``(N, width)``, candidates ``(L,)`` int64; returns ``(N, L)``.
    """

    def __init__(self, width: int, classes: ClassSpace) -> None:
        super().__init__()
        self.classes = classes.embedding(width, normalised=False, init=nn.init.normal_, norm=math.sqrt(width))
        self.bias = classes.bias()
        self.scale = 1 / math.sqrt(width)

    def forward(self, vectors: Tensor, candidates: Tensor) -> Tensor:
        return F.linear(vectors, self.classes(candidates) * self.scale, self.bias(candidates).squeeze(1))


class EqualisedLatentMaps(nn.Module):
    """First layer of the generator: latent and class, put on the hypersphere together, to maps; equalised.

    The authors' code concatenates the latent and the one-hot class, divides the whole by its root mean square (see
    :func:`pixel_norm`) and multiplies it with one matrix. The same is computed here without the one-hot vector: it
    adds 1 to the sum of squares, and its share of the product is a row of a table. The bias is one number per channel.

    The length of the concatenation stands in the root mean square and in the equalised scale, and cancels. So that
    images do not depend on how many other classes there are (decision 25), it is left out, in the epsilon too.

    Shapes: latent ``(N, noise)``, labels ``(N,)`` int64, ignored without classes; returns ``(N, outputs, size, size)``.

    Args:
        classes: None for a generator without classes.
    """

    def __init__(self, noise: int, classes: ClassSpace | None, outputs: int, size: int) -> None:
        super().__init__()
        self.size = size
        self.latent = nn.Parameter(torch.randn(noise, outputs * size**2))
        width = outputs * size**2
        self.classes = None
        if classes is not None:
            self.classes = classes.embedding(width, normalised=False, init=nn.init.normal_, norm=math.sqrt(width))
        self.bias = nn.Parameter(torch.zeros(outputs))
        # The authors' gain sqrt(2) / 4 at 4x4: the layer stands for a 4x4 convolution of the padded 1x1 latent.
        self.scale = HE_GAIN / size

    def forward(self, latent: Tensor, labels: Tensor) -> Tensor:
        squares = latent.square().sum(dim=1)  # (N,)
        products = latent @ self.latent
        if self.classes is not None:
            squares = squares + 1
            products = products + self.classes(labels)
        norm = torch.rsqrt(squares + EPSILON)
        maps = products * (norm * self.scale)[:, None]
        return maps.unflatten(1, (-1, self.size, self.size)) + self.bias[:, None, None]


def pixel_norm(maps: Tensor) -> Tensor:
    """Divide each pixel's feature vector by its root mean square over the channels, ``(N, C, ...)`` to the same."""
    return maps * torch.rsqrt(maps.square().mean(dim=1, keepdim=True) + EPSILON)


def concat_deviation(maps: Tensor) -> Tensor:
    """Append how much neighbours in the batch differ, so that a discriminator sees a lack of variety.

    The batch is cut into groups of 4 consecutive images. Of each group the standard deviation is taken at every channel
    and pixel, then averaged over all of them to one number, which becomes a constant map. (The authors' code groups
    image i with i + N/4, ...; ours are neighbours so that real and synthetic images, one after the other in one batch,
    do not meet in a group as long as there is a multiple of 4 of each.) A batch that is no multiple of 4 is cut into
    groups of 3, 2 or 1, the largest that divides it; a group of 1 has no deviation.

    Shapes: ``(N, C, H, W)``; returns ``(N, C + 1, H, W)``.
    """
    group = max(size for size in range(1, DEVIATION_GROUP + 1) if len(maps) % size == 0)
    variance = maps.unflatten(0, (-1, group)).var(dim=1, correction=0)  # (N / group, C, H, W)
    # Without the epsilon the root's gradient is infinite where a group agrees.
    deviation = (variance + EPSILON).sqrt().mean(dim=(1, 2, 3))
    return concat_tiled(maps, deviation.repeat_interleave(group)[:, None])
