"""The generator of SN-GAN with or without classes (Miyato et al. 2018, Miyato and Koyama 2018): noise to an image."""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ctfgan.distributed.random_streams import BatchRng
from ctfgan.models.interfaces import Condition, Noise, normal_noise
from ctfgan.models.widths import WidthPlan
from ctfgan.nn.blocks import GeneratorBlock, conv, linear
from ctfgan.nn.class_tables import ClassSpace
from ctfgan.nn.norm import ConditionalNorm2d, UnconditionalBatchNorm2d


class ResnetGenerator(nn.Module):
    """Linear, M blocks with batch norm (of the class, unless ``classes`` is None), batch norm, ReLU, conv, tanh."""

    def __init__(self, plan: WidthPlan, channels: int, noise: int, classes: ClassSpace | None) -> None:
        super().__init__()
        self.noise = noise
        self.base = plan.base
        self.classes = nn.Identity() if classes is None else classes.encoder()
        self.from_noise = linear(noise, plan.generator[0] * plan.base**2)

        def norm(count: int) -> nn.Module:
            if classes is None:
                return UnconditionalBatchNorm2d(count)
            return ConditionalNorm2d(count, classes, "batch")

        self.blocks = nn.ModuleList(
            GeneratorBlock(inputs, outputs, norm) for inputs, outputs in itertools.pairwise(plan.generator)
        )
        self.norm = UnconditionalBatchNorm2d(plan.generator[-1])
        self.to_image = conv(plan.generator[-1], channels)

    def draw_noise(self, count: int, batch_rng: BatchRng) -> Noise:
        """Noise of ``count`` images, on the CPU."""
        return normal_noise(count, self.noise, 0, 0, batch_rng)

    def forward(self, condition: Condition, noise: Noise) -> Tensor:
        maps = self.from_noise(noise.latent).unflatten(1, (-1, self.base, self.base))  # (N, T_0, b, b)
        classes = self.classes(condition.labels)  # (N,) or (N, code)
        for block in self.blocks:
            maps = block(maps, classes)  # (N, T_m, 2H, 2W)
        return torch.tanh(self.to_image(F.relu(self.norm(maps))))  # (N, K, R, R)
