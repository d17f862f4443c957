"""Normalising maps and giving each image its own scale and shift, in as few passes over the maps as it takes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


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
