"""Normalisation layers of the generators. All take ``(maps, classes)`` so that one residual block serves them all."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ctfgan.distributed.engine import Engine, to_device
from ctfgan.distributed.processes import gather_statistics
from ctfgan.nn.class_tables import ClassSpace

Statistics = Literal["instance", "batch"]

BATCH_NORM_EPSILON = 2e-5  # of SN-GAN+Projection


class UnconditionalBatchNorm2d(nn.Module):
    """Batch norm with one learned scale and shift for all classes (G_A: section IV, first paragraph)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.normalize = nn.BatchNorm2d(channels, eps=BATCH_NORM_EPSILON)

    def forward(self, maps: Tensor, classes: Tensor | None = None) -> Tensor:
        """Maps ``(N, C, H, W)`` to the same shape; classes are ignored."""
        return self.normalize(maps)


class ConditionalNorm2d(nn.Module):
    """Normalise, then scale and shift with the parameters of each image's class (Eq. 1).

    ``batch`` statistics run over the batch, H and W, as in SN-GAN+Projection; ``instance`` statistics over H and W of
    each image alone, as an ablation (decision 3).

    Shapes: maps ``(N, C, H, W)``, classes as the encoder of the class space returns them (labels ``(N,)``, or codes);
    returns ``(N, C, H, W)``.
    """

    def __init__(self, channels: int, classes: ClassSpace, statistics: Statistics) -> None:
        super().__init__()
        self.normalize: nn.Module
        if statistics == "instance":
            self.normalize = nn.InstanceNorm2d(channels, eps=BATCH_NORM_EPSILON)
        else:
            self.normalize = nn.BatchNorm2d(channels, eps=BATCH_NORM_EPSILON, affine=False)
        self.gamma = classes.map(channels, start=1.0)
        self.beta = classes.map(channels, start=0.0)

    def rows(self, classes: Tensor) -> tuple[Tensor, Tensor]:
        """Scale gamma and shift beta of each image's class, both ``(N, C)``."""
        return self.gamma(classes), self.beta(classes)

    def forward(self, maps: Tensor, classes: Tensor) -> Tensor:
        gamma, beta = self.rows(classes)  # (N, C) each
        over_batch = not isinstance(self.normalize, nn.InstanceNorm2d)
        # Any other kind of batch norm, such as one over several processes, has statistics of its own.
        if over_batch and not (self.training and type(self.normalize) is nn.BatchNorm2d):
            return torch.addcmul(beta[:, :, None, None], gamma[:, :, None, None], self.normalize(maps))
        scaled, mean, variance = scaled_normalisation(maps, gamma, beta, BATCH_NORM_EPSILON, over_batch)
        if over_batch:
            assert isinstance(self.normalize, nn.BatchNorm2d)
            follow_statistics(self.normalize, mean[0], variance[0], maps.numel() // maps.shape[1])
        return scaled


class SharedBatchNorm2d(nn.BatchNorm2d):
    """What ``nn.BatchNorm2d`` makes of the whole batch, from a process's own part of it; same names of weights.

    Every process must hold equally many images. Running statistics are those of the whole batch, on every process.

    Shapes: maps ``(N, C, H, W)``; returns the same shape and type.

    Args:
        like: the layer that this one takes the place of; its tensors are taken over, not copied.
    """

    def __init__(self, like: nn.BatchNorm2d) -> None:
        super().__init__(like.num_features, like.eps, like.momentum, like.affine, like.track_running_stats)
        self.weight, self.bias = like.weight, like.bias
        self.running_mean, self.running_var = like.running_mean, like.running_var
        self.num_batches_tracked = like.num_batches_tracked
        self.train(like.training)

    def forward(self, maps: Tensor) -> Tensor:
        if not self.training:
            return super().forward(maps)
        wide = maps if maps.dtype == torch.float64 else maps.float()
        variance, mean = torch.var_mean(wide, dim=(0, 2, 3), correction=0)
        means, variances = gather_statistics(torch.stack([mean, variance])).unbind(1)  # (processes, C) each
        mean = means.mean(0)
        # Of equally large parts: the mean of their variances plus the variance of their means.
        variance = (variances + (means - mean).square()).mean(0)
        count = len(means) * maps.numel() // self.num_features
        follow_statistics(self, mean.detach(), variance.detach(), count)
        scale = (variance + self.eps).rsqrt()
        if self.weight is not None:
            scale = scale * self.weight
        normal = (wide - mean[:, None, None]) * scale[:, None, None]
        if self.bias is not None:
            normal = normal + self.bias[:, None, None]
        return normal.to(maps.dtype)


def share_batch_norm(network: nn.Module) -> None:
    """Put a :class:`SharedBatchNorm2d` in the place of every ``nn.BatchNorm2d`` of a network."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if type(child) is nn.BatchNorm2d:
                setattr(parent, name, SharedBatchNorm2d(child))


def distribute(network: nn.Module, engine: Engine) -> None:
    """Make a network ready for training: on the device, batch norm over all processes, the main one's weights."""
    if engine.processes.count > 1:
        share_batch_norm(network)
    to_device(network, engine.device)
    engine.processes.copy_from_main([*network.parameters(), *network.buffers()])


def scaled_normalisation(
    maps: Tensor, gamma: Tensor, beta: Tensor, eps: float, over_batch: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """``gamma * (maps - mean) / sqrt(var + eps) + beta`` with gamma and beta of each image.

    As separate layers this is five passes over the maps forward and more backward, and torch's instance norm leaves the
    channels-last order. Here sums are products with a row of ones, which is a CPU's fastest way to add up pixels in
    that order, and scale and shift are one pass.

    Args:
        maps: ``(N, C, H, W)``.
        gamma: ``(N, C)``.
        beta: ``(N, C)``.
        eps: added to the variance.
        over_batch: whether the statistics run over N too, besides H and W.

    Returns:
        The maps, in channels-last order and the type of the given ones; mean and biased variance, ``(N, C)`` or over
        the batch ``(1, C)``, without a gradient. The maps cannot be differentiated twice.
    """
    wide = maps.dtype if maps.dtype == torch.float64 else torch.float32
    # Statistics in eight bits would be wrong; the sums below are products, which autocast would take for such.
    with torch.autocast(maps.device.type, enabled=False):
        scaled, mean, variance = _ScaledNormalisation.apply(  # type: ignore[no-untyped-call]
            maps.to(wide), gamma.to(wide), beta.to(wide), eps, over_batch
        )
    return scaled.to(maps.dtype), mean, variance


@torch.no_grad()
def follow_statistics(norm: nn.BatchNorm2d, mean: Tensor, variance: Tensor, count: int) -> None:
    """Update the running statistics of a batch norm as torch does, if it keeps any.

    Args:
        norm: whose buffers change.
        mean: of a batch, ``(C,)``.
        variance: its biased variance, ``(C,)``.
        count: numbers of each channel that they were taken of.
    """
    if norm.running_mean is None or norm.running_var is None or norm.num_batches_tracked is None:
        return
    assert norm.momentum is not None, "a cumulative average is not in use"
    norm.num_batches_tracked += 1
    norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), norm.momentum)
    unbiased = variance * (count / (count - 1))
    norm.running_var.lerp_(unbiased.to(norm.running_var.dtype), norm.momentum)


class _ScaledNormalisation(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, maps: Tensor, gamma: Tensor, beta: Tensor, eps: float, over_batch: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        pixels = _pixels(maps)
        mean = _mean(pixels, over_batch)
        centred = pixels - mean[:, None]
        variance = _mean(centred.square(), over_batch)
        rate = torch.rsqrt(variance + eps)
        scaled = torch.addcmul(beta[:, None], centred, (gamma * rate)[:, None])
        ctx.save_for_backward(maps, gamma, mean, rate)
        ctx.over_batch = over_batch
        ctx.mark_non_differentiable(mean, variance)
        return _maps(scaled, maps), mean, variance

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor, *statistics: Tensor) -> tuple[Tensor | None, ...]:
        maps, gamma, mean, rate = ctx.saved_tensors
        pixels, given = _pixels(maps), _pixels(gradient)
        beta_gradient = _sum(given)  # (N, C)
        gamma_gradient = (_sum(given * pixels) - mean * beta_gradient) * rate
        # d maps = rate * (gamma * d - mean(gamma * d) - normalised * mean(gamma * d * normalised)), means as above.
        shift, slope = gamma * beta_gradient, gamma * gamma_gradient
        if ctx.over_batch:
            shift, slope = shift.mean(dim=0, keepdim=True), slope.mean(dim=0, keepdim=True)
        shift, slope = shift * rate / pixels.shape[1], slope * rate.square() / pixels.shape[1]
        inner = torch.addcmul((slope * mean - shift)[:, None], given, (gamma * rate)[:, None])
        inner.addcmul_(pixels, slope[:, None], value=-1)
        return _maps(inner, maps), gamma_gradient, beta_gradient, None, None


def _pixels(maps: Tensor) -> Tensor:
    """Maps ``(N, C, H, W)`` as contiguous ``(N, H * W, C)``: a view, if they are in channels-last order."""
    return maps.permute(0, 2, 3, 1).contiguous().flatten(1, 2)


def _maps(pixels: Tensor, like: Tensor) -> Tensor:
    return pixels.unflatten(1, like.shape[2:]).permute(0, 3, 1, 2)


def _sum(pixels: Tensor) -> Tensor:
    ones = pixels.new_ones(1, 1, pixels.shape[1]).expand(pixels.shape[0], -1, -1)
    return torch.bmm(ones, pixels)[:, 0]


def _mean(pixels: Tensor, over_batch: bool) -> Tensor:
    mean = _sum(pixels) / pixels.shape[1]
    return mean.mean(dim=0, keepdim=True) if over_batch else mean
