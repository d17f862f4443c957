"""Time the literal DCT form of Eqs. 3 and 4 against the spatial form that ctfgan computes, side by side.

Usage: ``python benchmarks/bench_dct.py``. The literal form transforms all T x S pairs; rounds are interleaved.
"""

from __future__ import annotations

import statistics
import time

import torch
import torch.nn.functional as F
from torch import Tensor

from ctfgan.models.transfer_features import difference_maps
from ctfgan.nn.dct import dct2, idct2

BATCH, CHANNELS, PREVIOUS, SIZE, ROUNDS = 8, 32, 32, 32, 7


def literal(current: Tensor, previous: Tensor) -> Tensor:
    """Eq. 4 over all pairs, ``(N, T, S, H, W)`` in memory at once."""
    upscaled = F.interpolate(previous, size=current.shape[-2:], mode="bilinear", align_corners=False)
    pairs = dct2(current)[:, :, None] - dct2(upscaled)[:, None]
    return idct2(pairs).mean(dim=2)


def main() -> None:
    rng = torch.Generator().manual_seed(0)
    current = torch.randn(BATCH, CHANNELS, SIZE, SIZE, generator=rng)
    previous = torch.randn(BATCH, PREVIOUS, SIZE // 2, SIZE // 2, generator=rng)
    torch.testing.assert_close(literal(current, previous), difference_maps(current, previous), atol=1e-4, rtol=0)
    times: dict[str, list[float]] = {"literal DCT": [], "spatial": []}
    for _ in range(ROUNDS):
        for name, function in (("literal DCT", literal), ("spatial", difference_maps)):
            started = time.perf_counter()
            function(current, previous)
            times[name].append(time.perf_counter() - started)
    medians = {name: statistics.median(values) for name, values in times.items()}
    for name, seconds in medians.items():
        print(f"{name}: {seconds * 1e3:.2f} ms (batch {BATCH}, T {CHANNELS}, S {PREVIOUS}, {SIZE}x{SIZE})")
    print(f"ratio: {medians['literal DCT'] / medians['spatial']:.0f}")


if __name__ == "__main__":
    main()
