"""Low-quality images made from good ones: area averaging, less contrast, noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ctfgan.data.images import Bytes
from ctfgan.data.settings import DegradationSettings
from ctfgan.data.splits import Rows

AT_ONCE = 1 << 17  # pixels; what is computed from them fits into a processor's cache
PRECISION = 1 << 22  # Pillow's fixed point


def degrade(images: Bytes, settings: DegradationSettings, seed: int, numbers: Rows | None = None) -> Bytes:
    """Degraded copies of uint8 images ``(N, R, R, K)``: uint8 ``(N, size, size, K)``.

    Each image has its own random stream, so a copy does not depend on the others.

    Args:
        images: originals.
        settings: how.
        seed: of the noise.
        numbers: which stream is each image's, ``(N,)``; None counts from 0.
    """
    degraded = np.empty((len(images), settings.size, settings.size, images.shape[3]), dtype=np.uint8)
    streams = np.arange(len(images)) if numbers is None else numbers
    step = max(1, AT_ONCE // max(1, images[:1].size))
    for start in range(0, len(images), step):
        rows = slice(start, start + step)
        levels = box_averages(images[rows], settings.size)
        levels = 127.5 + (levels - 127.5) * settings.contrast
        if settings.noise:
            for level, stream in zip(levels, streams[rows].tolist(), strict=True):
                level += np.random.default_rng((seed, stream)).normal(0, 255 * settings.noise, level.shape)
        degraded[rows] = np.rint(levels).clip(0, 255)
    return degraded


def box_averages(images: Bytes, size: int) -> NDArray[np.float64]:
    """What Pillow's ``resize`` with its box filter makes of uint8 images ``(N, R, R, K)``, bit for bit, all at once.

    Returns:
        Whole numbers 0 ... 255, ``(N, size, size, K)``.
    """
    levels = images.astype(np.float64)
    if images.shape[1] == size:
        return levels
    weights = box_weights(images.shape[1], size)
    # Rows first; each product of whole numbers stays below 2**31 and is therefore exact.
    for _ in range(2):
        sums = levels.transpose(0, 1, 3, 2) @ weights  # (N, R, K, size)
        # The two sides change places, so that the second round averages over columns and puts them back.
        levels = np.floor((sums + PRECISION // 2) / PRECISION).transpose(0, 3, 1, 2)
    return levels


def box_weights(side: int, size: int) -> NDArray[np.float64]:
    """Pillow's weights of ``side`` pixels in each of ``size`` averages, in its fixed point, ``(side, size)``."""
    scale = side / size
    weights = np.zeros((side, size))
    for place in range(size):
        centre, reach = (place + 0.5) * scale, 0.5 * scale
        pixels = np.arange(max(0, int(centre - reach + 0.5)), min(side, int(centre + reach + 0.5)))
        distance = (pixels - centre + 0.5) / scale
        inside = ((distance > -0.5) & (distance <= 0.5)).astype(np.float64)
        weights[pixels, place] = np.floor(0.5 + inside / inside.sum() * PRECISION)
    return weights
