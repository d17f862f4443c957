"""The least work of a network or of an update, counted, and the peaks of the machine, measured.

Operations are floating-point operations of convolutions and matrix products as executed, a multiplication and an
addition being two; element-wise work is not among them, because memory bounds it.

Bytes are those that no order of the same layers avoids, if each is touched as rarely as possible:

- forward: parameters and inputs read once, outputs written once;
- forward and backward: also each activation that autograd keeps, written once and read once, and the gradients of the
  parameters, written once;
- an update of a player: also Adam's: gradient read, weight and two moments read and written.

What a layer hands to the next one, and need not be kept, costs nothing: it could stay in a cache.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from ctfgan.distributed.engine import wait_for
from ctfgan.training.estimate import KeptBytes

ADAM_PASSES = 7  # gradient read; weight and two moments read and written
TRIES = 4
MATRIX = 1_536  # side; large enough for full speed, 0.1 s on two cores
CONV = (32, 128, 32)  # images, channels, side: the widest layer of the published 32x32 discriminator
COPIED = 128 * 2**20  # bytes; more than a cache holds


@dataclass(frozen=True)
class Work:
    """Operations and least bytes; a share of it is ``work.per(images)``."""

    operations: float
    bytes: float

    def per(self, count: int) -> Work:
        """The work of one of ``count`` images."""
        return Work(self.operations / count, self.bytes / count)


@torch.no_grad()
def forward_work(call: Callable[[], Tensor], network: nn.Module, inputs: Iterable[Tensor]) -> Work:
    """Work of ``call``, which sends ``inputs`` through the network and returns its output."""
    with FlopCounterMode(display=False) as counter:
        output = call()
    return Work(counter.get_total_flops(), _bytes(network.parameters()) + _bytes(inputs) + _bytes([output]))


def backward_work(call: Callable[[], Tensor], network: nn.Module, inputs: Iterable[Tensor]) -> Work:
    """Work of ``call`` and of the gradients of those parameters that require one."""
    inputs = list(inputs)
    kept = KeptBytes([*network.parameters(), *inputs])
    with FlopCounterMode(display=False) as counter, torch.autograd.graph.saved_tensors_hooks(kept.keep, kept.give):
        output = call()
        output.sum().backward()
    kept.next_step(1)
    network.zero_grad()
    touched = _bytes(network.parameters()) + _bytes(_trained(network)) + _bytes(inputs) + _bytes([output])
    return Work(counter.get_total_flops(), touched + 2 * kept.most)


def update_work(update: Callable[[], object], trained: nn.Module, other: nn.Module, inputs: Iterable[Tensor]) -> Work:
    """Work of one update of the network ``trained`` against ``other`` on a batch ``inputs``."""
    inputs = list(inputs)
    kept = KeptBytes([*trained.parameters(), *other.parameters(), *inputs])
    with FlopCounterMode(display=False) as counter, torch.autograd.graph.saved_tensors_hooks(kept.keep, kept.give):
        update()
    kept.next_step(1)
    read = _bytes(trained.parameters()) + _bytes(other.parameters()) + _bytes(inputs)
    return Work(counter.get_total_flops(), read + 2 * kept.most + (1 + ADAM_PASSES) * _bytes(_trained(trained)))


def _trained(network: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in network.parameters() if parameter.requires_grad]


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)


@dataclass(frozen=True)
class Peaks:
    """What a device can do at best."""

    operations: float
    """Floating-point operations per second: the better of a large product of matrices and a large 3x3 convolution."""
    bytes: float
    """Bytes per second of a copy, those read and those written together."""

    def floor(self, operations: float, moved: float) -> float:
        """Seconds that this much work takes at least, if arithmetic and memory overlap perfectly."""
        return max(operations / self.operations, moved / self.bytes)


@torch.no_grad()
def measure_peaks(device: torch.device) -> Peaks:
    """Measure float32 arithmetic and memory of a device, with as many threads as torch now uses."""
    matrix = torch.rand(MATRIX, MATRIX, device=device)
    images, channels, side = CONV
    maps = torch.rand(images, channels, side, side, device=device).contiguous(memory_format=torch.channels_last)
    weight = torch.rand(channels, channels, 3, 3, device=device).contiguous(memory_format=torch.channels_last)
    source = torch.zeros(COPIED // 4, device=device)
    target = torch.empty_like(source)
    product = _best(lambda: matrix @ matrix, device)
    conv = _best(lambda: F.conv2d(maps, weight, padding=1), device)
    copy = _best(lambda: target.copy_(source), device)
    conv_operations = 2 * images * side**2 * channels**2 * 9
    return Peaks(max(2 * MATRIX**3 / product, conv_operations / conv), 2 * COPIED / copy)


def _best(work: Callable[[], object], device: torch.device) -> float:
    seconds = []
    for _ in range(TRIES):
        started = time.perf_counter()
        work()
        wait_for(device)
        seconds.append(time.perf_counter() - started)
    return min(seconds[1:])
