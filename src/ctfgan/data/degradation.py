"""Cheap images from good ones: area averaging, less contrast, noise."""

from __future__ import annotations

import numpy as np
from PIL import Image

from ctfgan.data.images import Bytes, to_picture
from ctfgan.data.settings import DegradationSettings


def degrade(images: Bytes, settings: DegradationSettings, seed: int) -> Bytes:
    """Degraded copies of uint8 images ``(N, R, R, K)``: uint8 ``(N, size, size, K)``.

    Each image has its own random stream, so a copy does not depend on the others.
    """
    degraded = np.empty((len(images), settings.size, settings.size, images.shape[3]), dtype=np.uint8)
    for index, image in enumerate(images):
        small = to_picture(image).resize((settings.size, settings.size), Image.Resampling.BOX)
        levels = np.asarray(small, dtype=np.float64).reshape(degraded.shape[1:])
        levels = 127.5 + (levels - 127.5) * settings.contrast
        if settings.noise:
            levels += np.random.default_rng((seed, index)).normal(0, 255 * settings.noise, levels.shape)
        degraded[index] = np.rint(levels).clip(0, 255)
    return degraded
