"""G_LH: from a low-quality image to a high-quality image of a class (Task 2), leaving the CTFs' raw material."""

from __future__ import annotations

import itertools
from math import ceil, log2

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ctfgan.distributed.batch_rng import BatchRng
from ctfgan.models.interfaces import Condition, Noise, normal_noise
from ctfgan.models.settings import TransferSettings
from ctfgan.models.transfer_features import TransferTrace, to_grey
from ctfgan.models.widths import Plan
from ctfgan.nn.blocks import GeneratorBlock
from ctfgan.nn.class_tables import ClassSpace
from ctfgan.nn.embed import NoiseEmbedding
from ctfgan.nn.layers import conv
from ctfgan.nn.norm import ConditionalNorm2d


class Stem(nn.Module):
    """Low-quality image of any size r to the base size b (decision 2).

    The image is resized bilinearly to the next b * 2**k, then a 3x3 convolution and k strided ones follow. With
    ``resize`` it goes to b at once and one convolution follows.

    Shapes: ``(N, K, r, r)``; returns ``(N, outputs, b, b)``.
    """

    def __init__(self, channels: int, outputs: int, base: int, low_quality_size: int, kind: str) -> None:
        super().__init__()
        halvings = 0 if kind == "resize" else max(0, ceil(log2(low_quality_size / base)))
        self.size = base * 2**halvings
        widths = [max(8, outputs >> (halvings - step)) for step in range(halvings)] + [outputs]
        layers: list[nn.Module] = [conv(channels, widths[0])]
        for inputs, count in itertools.pairwise(widths):
            layers += [nn.ReLU(), conv(inputs, count, stride=2)]
        self.layers = nn.Sequential(*layers)

    def forward(self, low_quality: Tensor) -> Tensor:
        if low_quality.shape[-1] != self.size:
            shrinks = low_quality.shape[-1] > self.size
            low_quality = F.interpolate(
                low_quality, size=(self.size, self.size), mode="bilinear", align_corners=False, antialias=shrinks
            )
        return self.layers(low_quality)


class GeneratorLH(nn.Module):
    """Stem, then M blocks with the class's norm (Eq. 1) and noise z_m, then a convolution to the image."""

    def __init__(
        self, plan: Plan, channels: int, low_quality_size: int, classes: ClassSpace, settings: TransferSettings
    ) -> None:
        super().__init__()
        self.settings = settings
        self.classes = classes.encoder()
        self.stem = Stem(channels, plan.generator[0], plan.base, low_quality_size, settings.stem)

        def norm(count: int) -> ConditionalNorm2d:
            return ConditionalNorm2d(count, classes, settings.statistics)

        noise, tiled = settings.block_noise, settings.noise_maps == "tiled"
        self.noise_embeddings = nn.ModuleList(
            NoiseEmbedding(noise, 1 if tiled else plan.base * 2**index) for index in range(plan.blocks if noise else 0)
        )
        self.blocks = nn.ModuleList(
            GeneratorBlock(inputs + noise, outputs, norm)
            for inputs, outputs in zip(plan.generator, plan.generator[1:], strict=False)
        )
        self.norm = norm(plan.generator[-1])
        self.to_image = conv(plan.generator[-1], channels)

    def draw_noise(self, count: int, batch_rng: BatchRng) -> Noise:
        """Noise z_1 ... z_M of ``count`` images, on the CPU."""
        return normal_noise(count, 0, len(self.blocks), self.settings.block_noise, batch_rng)

    def trace(self, condition: Condition, noise: Noise) -> TransferTrace:
        """How the high-quality image comes about, up to its last maps."""
        low_quality, _ = condition.required_low_quality()
        maps = self.stem(low_quality)
        classes = self.classes(condition.labels)
        trace = TransferTrace(to_grey(low_quality), classes, [], [], [])
        for index, block in enumerate(self.blocks):
            if self.settings.block_noise:
                maps = self.noise_embeddings[index](maps, noise.blocks[:, index])
            maps = block(maps, classes)
            assert isinstance(block.norm_2, ConditionalNorm2d)
            gamma, beta = block.norm_2.rows(classes)
            trace.maps.append(maps)
            trace.gammas.append(gamma)
            trace.betas.append(beta)
        return trace

    def forward(self, condition: Condition, noise: Noise) -> Tensor:
        trace = self.trace(condition, noise)
        return torch.tanh(self.to_image(F.relu(self.norm(trace.maps[-1], trace.classes))))
