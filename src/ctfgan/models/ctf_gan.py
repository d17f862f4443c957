"""CTF-GAN: G_LH (Fig. 3), the conditional transferring features it leaves behind (Eqs. 2 to 4), and G_A (Fig. 2).

G_LH makes a high-quality image of a low-quality one (Task 2). What each of its blocks adds to the image is a CTF, and
G_A makes images of noise and CTFs (Task 1). Sizes: N images of K channels and side R = b * 2**M, M blocks, T_m maps
after block m.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import ceil, log2
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ctfgan.distributed.random_streams import BatchRng
from ctfgan.models.interfaces import Condition, Noise, normal_noise
from ctfgan.models.settings import TransferSettings
from ctfgan.models.widths import WidthPlan
from ctfgan.nn.blocks import GeneratorBlock, conv, linear
from ctfgan.nn.class_tables import ClassEmbedding, ClassSpace
from ctfgan.nn.dct import dct2, high_pass, idct2, soft_threshold
from ctfgan.nn.embed import ConditionEmbedding, NoiseEmbedding, conv_tiled
from ctfgan.nn.norm import ConditionalNorm2d, UnconditionalBatchNorm2d

CoefficientFilter = Callable[[Tensor], Tensor]

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, the weights of what image libraries call a conversion to grey


@dataclass(frozen=True)
class TransferTrace:
    """What G_LH leaves behind while it turns a low-quality image into a high-quality one."""

    grey: Tensor
    """The grey low-quality image, ``(N, 1, r, r)``."""
    classes: Tensor
    """The classes as G_LH's norms take them: labels ``(N,)``, or codes ``(N, code)``."""
    maps: list[Tensor]
    """Feature maps F_1 ... F_M, each ``(N, T_m, H_m, W_m)``."""
    gammas: list[Tensor]
    """Rows gamma_{m,2} of each image's class, each ``(N, T_m)``."""
    betas: list[Tensor]
    """Rows beta_{m,2}, likewise."""


class TransferFeature(NamedTuple):
    """CTF_m of Eq. 2 in its two parts; the second is the same at every pixel and is not repeated there."""

    difference: Tensor
    """H_m, ``(N, T_m, H_m, W_m)``."""
    embedding: Tensor
    """``Embed(Concat(gamma_{m,2}, beta_{m,2}, g_L))``, ``(N, embedding)``."""

    @property
    def width(self) -> int:
        """Its maps, T_m + embedding."""
        return self.difference.shape[1] + self.embedding.shape[1]


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
            low_quality = _resized(low_quality, (self.size, self.size))  # (N, K, b * 2**k, b * 2**k)
        return self.layers(low_quality)


class GeneratorLH(nn.Module):
    """Stem, then M blocks with the class's norm (Eq. 1) and noise z_m, then a convolution to the image."""

    def __init__(
        self, plan: WidthPlan, channels: int, low_quality_size: int, classes: ClassSpace, settings: TransferSettings
    ) -> None:
        super().__init__()
        self.settings = settings
        self.classes = classes.encoder()
        self.stem = Stem(channels, plan.generator[0], plan.base, low_quality_size, settings.stem)
        norm = partial(ConditionalNorm2d, classes=classes, statistics=settings.statistics)
        noise, tiled = settings.block_noise, settings.noise_maps == "tiled"
        self.noise_embeddings = nn.ModuleList(
            NoiseEmbedding(noise, 1 if tiled else plan.base * 2**index) for index in range(plan.blocks if noise else 0)
        )
        self.blocks = nn.ModuleList(
            GeneratorBlock(inputs + noise, outputs, norm) for inputs, outputs in itertools.pairwise(plan.generator)
        )
        self.norm = norm(plan.generator[-1])
        self.to_image = conv(plan.generator[-1], channels)

    def draw_noise(self, count: int, batch_rng: BatchRng) -> Noise:
        """Noise z_1 ... z_M of ``count`` images, on the CPU."""
        return normal_noise(count, 0, len(self.blocks), self.settings.block_noise, batch_rng)

    def trace(self, condition: Condition, noise: Noise) -> TransferTrace:
        """How the high-quality image comes about, up to its last maps."""
        low_quality, _ = condition.required_low_quality()
        maps = self.stem(low_quality)  # (N, T_0, b, b)
        classes = self.classes(condition.labels)  # (N,) or (N, code)
        trace = TransferTrace(to_grey(low_quality), classes, [], [], [])
        for index, block in enumerate(self.blocks):
            if self.settings.block_noise:
                maps = self.noise_embeddings[index](maps, noise.blocks[:, index])  # (N, T_{m-1} + noise, H, W)
            maps = block(maps, classes)  # F_m, (N, T_m, 2H, 2W)
            assert isinstance(block.norm_2, ConditionalNorm2d)
            gamma, beta = block.norm_2.rows(classes)  # gamma_{m,2} and beta_{m,2}, (N, T_m)
            trace.maps.append(maps)
            trace.gammas.append(gamma)
            trace.betas.append(beta)
        return trace

    def forward(self, condition: Condition, noise: Noise) -> Tensor:
        trace = self.trace(condition, noise)
        return torch.tanh(self.to_image(F.relu(self.norm(trace.maps[-1], trace.classes))))  # (N, K, R, R)


def to_grey(images: Tensor) -> Tensor:
    """The paper's CvtGray (Eq. 3): images ``(N, K, H, W)`` with K = 1 or 3 as ``(N, 1, H, W)``."""
    if images.shape[1] == 1:
        return images
    return torch.einsum("nkhw,k->nhw", images, images.new_tensor(LUMA))[:, None]


def difference_maps(current: Tensor, previous: Tensor, coefficient_filter: CoefficientFilter | None = None) -> Tensor:
    """Difference maps H_m between block m and the block before it (Eqs. 3 and 4).

    The paper takes the DCT of both sides, subtracts, averages over the S previous maps, and transforms back. All of
    these steps and the bilinear resize are linear, so the result is ``F_m - Resize(mean_s F_{m-1})`` and no transform
    is needed (decision 1). Only a filter on the coefficients makes the frequency domain matter.

    Args:
        current: feature maps F_m, ``(N, T, H, W)``.
        previous: feature maps F_{m-1}, ``(N, S, h, w)``. For m = 1 pass the grey low-quality image,
            ``(N, 1, h, w)``: Eq. 3 is Eq. 4 with S = 1.
        coefficient_filter: maps coefficients ``(N, T, H, W)`` to filtered ones; None for the paper's method.

    Returns:
        H_m, ``(N, T, H, W)``, in the units of the feature maps.

    Raises:
        ValueError: the two batches differ in length.
    """
    if current.shape[0] != previous.shape[0]:  # not len(): it would tie an exported graph to one batch size
        raise ValueError(f"current has {len(current)} images, previous has {len(previous)}; pass the same batch")
    resized = _resized(previous.mean(dim=1, keepdim=True), current.shape[-2:])  # (N, 1, H, W)
    if coefficient_filter is None:
        return current - resized
    return idct2(coefficient_filter(dct2(current) - dct2(resized)))


def coefficient_filter(settings: TransferSettings) -> CoefficientFilter | None:
    """The filter that the settings name, or None for the paper's linear method."""
    filters: dict[str, CoefficientFilter | None] = {
        "none": None,
        "soft-threshold": partial(soft_threshold, threshold=settings.frequency_level),
        "high-pass": partial(high_pass, cutoff=settings.frequency_level),
    }
    return filters[settings.frequency]


class TransferFeatures(nn.Module):
    """CTF_m = Concat(H_m, Embed(Concat(gamma_{m,2}, beta_{m,2}, g_L))) for m = 1 ... M (Eq. 2).

    Its embeddings are read by G_A only, so they train with G_A in stage 2; G_LH stays as stage 1 left it.

    Args:
        channels: T_1 ... T_M of G_LH.
        labels: the low-quality label space: c_L labels, 0 if there are none, and one more for images without a label.
    """

    def __init__(self, channels: tuple[int, ...], labels: ClassSpace, settings: TransferSettings) -> None:
        super().__init__()
        self.unlabelled = labels.count - 1
        self.labels = labels.encoder()
        self.embeddings = nn.ModuleList(ConditionEmbedding(count, labels, settings.embedding) for count in channels)
        self.widths = tuple(count + settings.embedding for count in channels)
        self._filter = coefficient_filter(settings)
        self._source = settings.ctf

    def forward(self, trace: TransferTrace, low_quality_labels: Tensor) -> list[TransferFeature]:
        """CTF_1 ... CTF_M; labels ``(N,)`` in ``[-1, c_L)``."""
        labels = self.labels(torch.where(low_quality_labels < 0, self.unlabelled, low_quality_labels))
        features = []
        previous = trace.grey  # (N, 1, r, r)
        for maps, gamma, beta, embed in zip(trace.maps, trace.gammas, trace.betas, self.embeddings, strict=True):
            difference = difference_maps(maps, previous, self._filter)  # H_m, (N, T_m, H_m, W_m)
            features.append(TransferFeature(difference, embed(gamma, beta, labels)))
            previous = maps  # F_m
        if self._source == "shuffled":
            return [TransferFeature(*map(_rolled_by_half, ctf)) for ctf in features]
        if self._source == "zero":
            return [TransferFeature(*map(torch.zeros_like, ctf)) for ctf in features]
        return features

    @torch.no_grad()
    def average_unlabelled(self) -> None:
        """Give the row of unlabelled images, if it was never trained, the mean of the labelled rows; codes stay."""
        for module in self.modules() if self.unlabelled else ():
            if isinstance(module, ClassEmbedding):
                module.weight[-1] = module.weight[:-1].mean(dim=0)


class GeneratorA(nn.Module):
    """M blocks with ordinary batch norm; after block m a convolution merges its maps with CTF_m (decision 7).

    The class reaches G_A through the CTFs alone. The convolution of the concatenation is computed as the sum of two:
    the one over CTF_m knows nothing of z_A, and images that differ in nothing else can share it (decision 35).

    Args:
        plan: of the channels T_0 ... T_M.
        channels: K of the images.
        noise: length of z_A.
        feature_widths: maps of CTF_1 ... CTF_M.
        own_kernel: side of the merging convolution over G_A's own maps, 1 or 3; over the features it is 3.
    """

    def __init__(
        self, plan: WidthPlan, channels: int, noise: int, feature_widths: tuple[int, ...], own_kernel: int
    ) -> None:
        super().__init__()
        self.noise = noise
        self.base = plan.base
        self.from_noise = linear(noise, plan.generator[0] * plan.base**2)
        self.blocks = nn.ModuleList(
            GeneratorBlock(inputs, outputs, UnconditionalBatchNorm2d)
            for inputs, outputs in itertools.pairwise(plan.generator)
        )
        is_whole = own_kernel == 3
        # Glorot's rule for one of two sums that are added up.
        part = 1.0 if is_whole else math.sqrt(0.5)
        self.merges = nn.ModuleList(
            conv(count * is_whole + width, count, gain=part)
            for count, width in zip(plan.generator[1:], feature_widths, strict=True)
        )
        self.own_merges = nn.ModuleList(
            conv(count, count, size=1, gain=part, bias=False) for count in (() if is_whole else plan.generator[1:])
        )
        self.norm = UnconditionalBatchNorm2d(plan.generator[-1])
        self.to_image = conv(plan.generator[-1], channels)

    def forward(self, latent: Tensor, features: list[TransferFeature]) -> Tensor:
        """Image ``(N, K, R, R)`` in [-1, 1] of z_A ``(N, noise)`` and CTF_1 ... CTF_M."""
        return self.from_merged(latent, self.merged(features))

    def merged(self, features: list[TransferFeature]) -> tuple[Tensor, ...]:
        """What the merging convolutions make of CTF_1 ... CTF_M, each ``(N, T_m, H_m, W_m)``."""
        merged = []
        for merge, ctf in zip(self.merges, features, strict=True):
            assert isinstance(merge, nn.Conv2d)
            merged.append(conv_tiled(ctf.difference, ctf.embedding, merge.weight[:, -ctf.width :], merge.bias))
        return tuple(merged)

    def from_merged(self, latent: Tensor, merged: tuple[Tensor, ...]) -> Tensor:
        """The image of z_A and of features that are :meth:`merged` already."""
        maps = self.from_noise(latent).unflatten(1, (-1, self.base, self.base))  # (N, T_0, b, b)
        for block, merge, ctf in zip(self.blocks, self.own_merges or self.merges, merged, strict=True):
            assert isinstance(merge, nn.Conv2d)
            maps = block(maps, None)  # (N, T_m, 2H, 2W)
            weight = merge.weight[:, : maps.shape[1]]  # over G_A's own maps
            maps = F.conv2d(maps, weight, padding=weight.shape[-1] // 2) + ctf
        return torch.tanh(self.to_image(F.relu(self.norm(maps))))


class TransferGenerator(nn.Module):
    """Task 1 as a whole: G_LH's features of a low-quality image steer G_A.

    ``generator_lh`` is frozen unless ``train_generator_lh``: it then runs without autograd and in evaluation mode.
    """

    def __init__(
        self,
        plan: WidthPlan,
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
        self.generator_a = GeneratorA(plan, channels, noise, self.features.widths, settings.merge_kernel)

    def train(self, mode: bool = True) -> TransferGenerator:
        """Training mode for all but the frozen G_LH."""
        super().train(mode)
        self.generator_lh.train(mode and self.train_generator_lh)
        return self

    def draw_noise(self, count: int, batch_rng: BatchRng) -> Noise:
        """Noise z_A and z_1 ... z_M of ``count`` images, on the CPU."""
        lh = self.generator_lh
        return normal_noise(count, self.generator_a.noise, len(lh.blocks), lh.settings.block_noise, batch_rng)

    def merged(self, condition: Condition, noise: Noise) -> tuple[Tensor, ...]:
        """All that does not depend on z_A: what G_A's merging convolutions make of the features."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and self.train_generator_lh):
            trace = self.generator_lh.trace(condition, noise)
        _, low_quality_labels = condition.required_low_quality()
        return self.generator_a.merged(self.features(trace, low_quality_labels))

    def forward(self, condition: Condition, noise: Noise) -> Tensor:
        merged = condition.merged or self.merged(condition, noise)
        return self.generator_a.from_merged(noise.latent, merged)  # (N, K, R, R)


def _resized(images: Tensor, size: tuple[int, ...]) -> Tensor:
    """Bilinear, with anti-aliasing where images shrink: ``(N, C, h, w)`` to ``(N, C, *size)``."""
    shrinks = images.shape[-1] > size[-1]
    return F.interpolate(images, size=size, mode="bilinear", align_corners=False, antialias=shrinks)


def _rolled_by_half(part: Tensor) -> Tensor:
    """Rows of a batch moved by half of it: so processes that share a batch need nothing of each other.

    Written with indices, since ONNX has no roll by a number that depends on the batch.
    """
    count = part.shape[0]
    return part[torch.arange(count, device=part.device) - count // 2]  # from the end where negative
