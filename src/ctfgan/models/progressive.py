"""The networks of progressive growing (Karras et al. 2018): they start at a few pixels and grow level by level.

A network has all its levels from the start and uses those up to ``level``. A new level is faded in: ``alpha`` runs from
0, where it has no say, to 1, where the shortcut around it has none. Outside, images always have the full side R.

Layers are those of the paper's Table 2 and of the authors' code; the class enters and leaves as in the latter.
"""

from __future__ import annotations

import itertools
import math
from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ctfgan.distributed.random_streams import BatchRng
from ctfgan.models.interfaces import Condition, Noise, normal_noise
from ctfgan.models.widths import GrowingPlan
from ctfgan.nn.class_tables import ClassSpace
from ctfgan.nn.embed import concat_tiled
from ctfgan.nn.resampling import unpool, unpool_conv

SLOPE = 0.2  # of all leaky ReLUs


class GrowingNetwork(nn.Module, ABC):
    """What both networks know about growing. New networks are fully grown: last level, alpha 1.

    The state holds alpha but not the level; whoever loads a half-grown network calls :meth:`grow_to` too.

    Attributes:
        level: index of the level in use, 0 ... L - 1; set by :meth:`grow_to`.
        alpha: weight of this level against the one before it, 0 ... 1, a buffer of no dimension; set by
            :meth:`set_alpha`. Level 0 has none before it and does not look at alpha.
    """

    alpha: Tensor

    def __init__(self, plan: GrowingPlan) -> None:
        super().__init__()
        self.plan = plan
        self.level = plan.levels - 1
        self.register_buffer("alpha", torch.ones(()))

    def grow_to(self, level: int) -> None:
        """Use the levels up to ``level``; exactly the parameters in use then require a gradient.

        The shortcut of the level before counts as in use whatever alpha is; at alpha 1 its gradient is zero.
        """
        assert 0 <= level < self.plan.levels, f"level {level} of {self.plan.levels}"
        self.level = level
        self.requires_grad_(False)
        for module in self._used():
            module.requires_grad_(True)

    def set_alpha(self, value: float) -> None:
        """Set the weight of the present level; not between a forward pass and its backward pass."""
        self.alpha.fill_(value)

    @abstractmethod
    def _used(self) -> list[nn.Module]:
        """The modules that take part at the present level."""

    def _fade(self, before: Tensor, now: Tensor) -> Tensor:
        # alpha stays on its device: nothing here may depend on its value.
        return torch.lerp(before, now, self.alpha)


class GrowingGenerator(GrowingNetwork):
    """Latent and class to an image; level l adds x2, two convolutions, each with leaky ReLU and pixel norm.

    The image is a linear function of the last maps, as in the authors' code: it lies near [-1, 1] but nothing holds it
    there, so that no saturated tanh stands in the way of the gradient. ``data.images.to_bytes`` clamps.

    Args:
        plan: sizes.
        channels: K of the images.
        noise: length of the latent.
        classes: None for a generator that ignores the labels.
    """

    def __init__(self, plan: GrowingPlan, channels: int, noise: int, classes: ClassSpace | None) -> None:
        super().__init__(plan)
        self.noise = noise
        first = plan.channels[0]
        self.from_noise = EqualisedLatentMaps(noise, classes, first, plan.base)
        self.conv = EqualisedConv2d(first, first)
        self.blocks = nn.ModuleList(UpBlock(inputs, outputs) for inputs, outputs in itertools.pairwise(plan.channels))
        self.to_image = nn.ModuleList(EqualisedConv2d(count, channels, 1, gain=1.0) for count in plan.channels)
        self.grow_to(self.level)

    def draw_noise(self, count: int, batch_rng: BatchRng) -> Noise:
        """Noise of ``count`` images, on the CPU."""
        return normal_noise(count, self.noise, 0, 0, batch_rng)

    def forward(self, condition: Condition, noise: Noise) -> Tensor:
        before = maps = _activated(self.conv(_activated(self.from_noise(noise.latent, condition.labels))))
        for block in self.blocks[: self.level]:
            before, maps = maps, block(maps)
        images = self.to_image[self.level](maps)
        if self.level:
            images = self._fade(unpool(self.to_image[self.level - 1](before)), images)
        return _enlarged(images, self.plan.resolution)

    def _used(self) -> list[nn.Module]:
        to_image = self.to_image[max(0, self.level - 1) : self.level + 1]
        return [self.from_noise, self.conv, *self.blocks[: self.level], *to_image]


class GrowingDiscriminator(GrowingNetwork):
    """The generator's mirror image with the minibatch deviation and a head each for realness and for the class.

    The class is not an input but a second output, as in AC-GAN (Odena et al. 2017). Labels are taken by
    :meth:`features` and :meth:`judge` for the sake of games that know other discriminators, and ignored.

    Args:
        plan: sizes.
        channels: K of the images.
        classes: None for a discriminator without a class head.
    """

    def __init__(self, plan: GrowingPlan, channels: int, classes: ClassSpace | None) -> None:
        super().__init__(plan)
        first = plan.channels[0]
        self.from_image = nn.ModuleList(EqualisedConv2d(channels, count, 1) for count in plan.channels)
        self.blocks = nn.ModuleList(DownBlock(inputs, outputs) for outputs, inputs in itertools.pairwise(plan.channels))
        self.conv = EqualisedConv2d(first + 1, first)
        self.dense = EqualisedLinear(first * plan.base**2, first)
        self.realness = EqualisedLinear(first, 1, gain=1.0)
        self.classes = None if classes is None else EqualisedClassHead(first, classes)
        self.grow_to(self.level)

    def features(self, images: Tensor, labels: Tensor) -> Tensor:
        """Features ``(N, width)`` of images ``(N, K, R, R)``, which are pooled to the level's size.

        An image's features depend on its neighbours: see :func:`concat_deviation`.
        """
        maps = self._maps_of(images, self.level)
        for level in range(self.level, 0, -1):
            maps = self.blocks[level - 1](maps)
            if level == self.level:
                maps = self._fade(self._maps_of(images, level - 1), maps)
        maps = F.leaky_relu(self.conv(concat_deviation(maps)), SLOPE)
        return F.leaky_relu(self.dense(maps.flatten(1)), SLOPE)

    def judge(self, features: Tensor, labels: Tensor) -> Tensor:
        """Scores ``(N,)`` of features; high means real."""
        return self.realness(features).squeeze(1)

    def classify(self, features: Tensor, candidates: Tensor) -> Tensor:
        """Logits ``(N, L)`` of features for the classes ``candidates`` ``(L,)``."""
        assert self.classes is not None, "this discriminator was built without classes"
        return self.classes(features, candidates)

    def forward(self, images: Tensor, labels: Tensor) -> Tensor:
        return self.judge(self.features(images, labels), labels)

    def blurred(self, images: Tensor) -> Tensor:
        """Real images ``(N, K, R, R)`` with no more detail than the generator can make at this level and alpha.

        The authors fade their real images like the synthetic ones; without it detail alone would tell them apart.
        """
        reduced = _pooled(images, self.plan.size(self.level))
        if self.level:
            reduced = self._fade(unpool(_pooled(images, self.plan.size(self.level - 1))), reduced)
        return _enlarged(reduced, self.plan.resolution)

    def _maps_of(self, images: Tensor, level: int) -> Tensor:
        return F.leaky_relu(self.from_image[level](_pooled(images, self.plan.size(level))), SLOPE)

    def _used(self) -> list[nn.Module]:
        from_image = self.from_image[max(0, self.level - 1) : self.level + 1]
        heads = [self.realness] if self.classes is None else [self.realness, self.classes]
        return [*from_image, *self.blocks[: self.level], self.conv, self.dense, *heads]


class UpBlock(nn.Module):
    """A level of the generator, ``(N, inputs, H, W)`` to ``(N, outputs, 2H, 2W)``."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv_1 = EqualisedConv2d(inputs, outputs)
        self.conv_2 = EqualisedConv2d(outputs, outputs)

    def forward(self, maps: Tensor) -> Tensor:
        return _activated(self.conv_2(_activated(self.conv_1.unpooled(maps))))


class DownBlock(nn.Module):
    """A level of the discriminator, ``(N, inputs, H, W)`` to ``(N, outputs, H/2, W/2)``.

    The pool comes after the leaky ReLU, as in the paper's Table 2; the authors' later code swaps the two for speed.
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv_1 = EqualisedConv2d(inputs, inputs)
        self.conv_2 = EqualisedConv2d(inputs, outputs)

    def forward(self, maps: Tensor) -> Tensor:
        maps = F.leaky_relu(self.conv_1(maps), SLOPE)
        return F.avg_pool2d(F.leaky_relu(self.conv_2(maps), SLOPE), 2)


def _activated(maps: Tensor) -> Tensor:
    return pixel_norm(F.leaky_relu(maps, SLOPE))


def _pooled(images: Tensor, size: int) -> Tensor:
    return F.avg_pool2d(images, images.shape[-1] // size)


def _enlarged(images: Tensor, size: int) -> Tensor:
    return F.interpolate(images, size=(size, size), mode="nearest")


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
