"""G_A: from noise and CTF_1 ... CTF_M to an image (Task 1), and the chain of G_LH and G_A that samples use."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ctfgan.distributed.batch_rng import BatchRng
from ctfgan.models.generator_lh import GeneratorLH
from ctfgan.models.interfaces import Condition, Noise, normal_noise
from ctfgan.models.settings import TransferSettings
from ctfgan.models.transfer_features import TransferFeature, TransferFeatures
from ctfgan.models.widths import Plan
from ctfgan.nn.blocks import GeneratorBlock
from ctfgan.nn.class_tables import ClassSpace
from ctfgan.nn.layers import conv, linear
from ctfgan.nn.norm import UnconditionalBatchNorm2d
from ctfgan.nn.tiled import conv_tiled


class GeneratorA(nn.Module):
    """M blocks with ordinary batch norm; after block m a 3x3 convolution merges CTF_m (decision 7).

    The class reaches G_A through the CTFs alone.
    """

    def __init__(self, plan: Plan, channels: int, noise: int, feature_widths: tuple[int, ...]) -> None:
        super().__init__()
        self.noise = noise
        self.base = plan.base
        self.from_noise = linear(noise, plan.generator[0] * plan.base**2)
        self.blocks = nn.ModuleList(
            GeneratorBlock(inputs, outputs, UnconditionalBatchNorm2d)
            for inputs, outputs in zip(plan.generator, plan.generator[1:], strict=False)
        )
        self.merges = nn.ModuleList(
            conv(count + width, count) for count, width in zip(plan.generator[1:], feature_widths, strict=True)
        )
        self.norm = UnconditionalBatchNorm2d(plan.generator[-1])
        self.to_image = conv(plan.generator[-1], channels)

    def forward(self, latent: Tensor, features: list[TransferFeature]) -> Tensor:
        """Image ``(N, K, R, R)`` in [-1, 1] of z_A ``(N, noise)`` and CTF_1 ... CTF_M."""
        maps = self.from_noise(latent).unflatten(1, (-1, self.base, self.base))
        for block, merge, ctf in zip(self.blocks, self.merges, features, strict=True):
            assert isinstance(merge, nn.Conv2d)
            both = torch.cat([block(maps, None), ctf.difference], dim=1)
            maps = conv_tiled(both, ctf.embedding, merge.weight, merge.bias)
        return torch.tanh(self.to_image(F.relu(self.norm(maps))))


class TransferGenerator(nn.Module):
    """Task 1 as a whole: G_LH's features of a low-quality image steer G_A.

    ``generator_lh`` is frozen unless ``train_generator_lh``: it then runs without autograd and in evaluation mode.
    """

    def __init__(
        self,
        plan: Plan,
        channels: int,
        noise: int,
        generator_lh: GeneratorLH,
        low_quality_labels: ClassSpace,
        settings: TransferSettings,
        *,
        train_generator_lh: bool = False,
    ) -> None:
        super().__init__()
        self.train_generator_lh = train_generator_lh
        self.generator_lh = generator_lh
        self.features = TransferFeatures(plan.generator[1:], low_quality_labels, settings)
        self.generator_a = GeneratorA(plan, channels, noise, self.features.widths)

    def train(self, mode: bool = True) -> TransferGenerator:
        """Training mode for all but the frozen G_LH."""
        super().train(mode)
        self.generator_lh.train(mode and self.train_generator_lh)
        return self

    def draw_noise(self, count: int, batch_rng: BatchRng) -> Noise:
        """Noise z_A and z_1 ... z_M of ``count`` images, on the CPU."""
        settings = self.generator_lh.settings
        return normal_noise(
            count, self.generator_a.noise, len(self.generator_lh.blocks), settings.block_noise, batch_rng
        )

    def forward(self, condition: Condition, noise: Noise) -> Tensor:
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.train_generator_lh):
            trace = self.generator_lh.trace(condition, noise)
        _, low_quality_labels = condition.required_low_quality()
        return self.generator_a(noise.latent, self.features(trace, low_quality_labels))
