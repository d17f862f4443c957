"""Batch norm whose batch is spread over several processes; torch's SyncBatchNorm works on GPUs alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ctfgan.distributed.engine import Engine, to_device
from ctfgan.distributed.processes import gather_statistics
from ctfgan.nn.normalising import follow_statistics


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
