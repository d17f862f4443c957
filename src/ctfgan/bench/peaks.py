"""What the machine can do at best, measured: the yardstick of every other time."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from ctfgan.distributed.engine import wait_for

TRIES = 4
MATRIX = 1_536  # side; large enough for full speed, 0.1 s on two cores
CONV = (32, 128, 32)  # images, channels, side: the widest layer of the published 32x32 discriminator
COPIED = 128 * 2**20  # bytes; more than a cache holds


@dataclass(frozen=True)
class Peaks:
    """Best of a few tries."""

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
