"""Normalisation layers of the generators. All take ``(maps, classes)`` so that one residual block serves them all."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from ctfgan.nn.class_tables import ClassSpace
from ctfgan.nn.normalising import follow_statistics, scaled_normalisation

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
        gamma, beta = self.rows(classes)
        over_batch = not isinstance(self.normalize, nn.InstanceNorm2d)
        # Any other kind of batch norm, such as one over several processes, has statistics of its own.
        if over_batch and not (self.training and type(self.normalize) is nn.BatchNorm2d):
            return torch.addcmul(beta[:, :, None, None], gamma[:, :, None, None], self.normalize(maps))
        scaled, mean, variance = scaled_normalisation(maps, gamma, beta, BATCH_NORM_EPSILON, over_batch)
        if over_batch:
            assert isinstance(self.normalize, nn.BatchNorm2d)
            follow_statistics(self.normalize, mean[0], variance[0], maps.numel() // maps.shape[1])
        return scaled
