"""The literal DCT form of Eqs. 3 and 4 over all T x S pairs, beside the spatial form that ctfgan computes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ctfgan.bench.rounds import Times, interleaved
from ctfgan.models.transfer_features import difference_maps
from ctfgan.nn.dct import dct2, idct2

LITERAL, SPATIAL = "literal DCT", "spatial form"


def literal_difference_maps(current: Tensor, previous: Tensor) -> Tensor:
    """Eq. 4 as printed, ``(N, T, S, H, W)`` in memory at once.

    Args:
        current: F_m, ``(N, T, H, W)``.
        previous: F_{m-1}, ``(N, S, h, w)``, no larger than F_m.
    """
    upscaled = F.interpolate(previous, size=current.shape[-2:], mode="bilinear", align_corners=False)
    pairs = dct2(current)[:, :, None] - dct2(upscaled)[:, None]
    return idct2(pairs).mean(dim=2)


def time_difference_maps(batch: int, channels: int, size: int, rounds: int) -> Times:
    """Time both forms on T = S = ``channels`` maps of side ``size`` over maps of half that side."""
    rng = torch.Generator().manual_seed(0)
    current = torch.randn(batch, channels, size, size, generator=rng)
    previous = torch.randn(batch, channels, size // 2, size // 2, generator=rng)
    arms = {
        LITERAL: lambda: literal_difference_maps(current, previous),
        SPATIAL: lambda: difference_maps(current, previous),
    }
    return interleaved(arms, rounds)
