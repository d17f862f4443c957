"""Exponential moving average of a generator."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from ctfgan.nn.class_tables import CodeTable


class Ema:
    """A copy of a network that follows it slowly; floating-point buffers (batch statistics) follow too.

    Single numbers (counters, the fade of a growing network) are copied: they say where training stands.

    The decay is warmed up, min(decay, (1 + t) / (10 + t)), so that early weights are soon forgotten.

    Attributes:
        network: the averaged copy, in evaluation mode; it reads the network's own class codes.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).eval().requires_grad_(False)
        self.updates = 0
        self._decay = decay

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Follow the network by one step."""
        decay = min(self._decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        averages, currents = [], []
        for average, current in zip(_tensors(self.network), _tensors(network), strict=True):
            if average.is_floating_point() and average.ndim:
                averages.append(average)
                currents.append(current)
            else:
                average.copy_(current)
        torch._foreach_lerp_(averages, currents, 1 - decay)

    @torch.no_grad()
    def hand_over(self, network: nn.Module) -> None:
        """Put the average into the network; the average is of no use afterwards."""
        for average, current in zip(_tensors(self.network), _tensors(network), strict=True):
            current.copy_(average)


def _tensors(network: nn.Module) -> list[Tensor]:
    """Parameters and buffers in order, class codes left out."""
    return [
        tensor
        for module in network.modules()
        if not isinstance(module, CodeTable)
        for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False))
    ]
