"""What the input pipeline costs: batches gathered from a packed set, as training gathers them."""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import torch

from ctfgan.data.batches import BatchStream
from ctfgan.data.prepare import prepare
from ctfgan.data.synthetic import synthetic_images
from ctfgan.distributed.batch_rng import BatchRng
from ctfgan.distributed.engine import wait_for
from ctfgan.recipes.recipe import Recipe

CLASSES, IMAGES_PER_CLASS = 10, 200
BATCHES = 50


def batch_seconds(recipe: Recipe, channels: int, batch_size: int, device: torch.device) -> float:
    """Median seconds of one batch, low-quality images included, from a memory-mapped set of random bytes.

    Args:
        recipe: for its resolution and its low-quality images, which are degraded copies here.
        channels: K.
        batch_size: real images.
        device: where the batch is wanted.
    """
    with tempfile.TemporaryDirectory(prefix="ctfgan-bench-") as folder:
        pack = Path(folder) / "pack"
        synthetic_images(pack, CLASSES, IMAGES_PER_CLASS, recipe.data.resolution, channels)
        own: dict[str, object] = {
            "high_quality": str(pack), "low_quality": None, "reference": None, "only": None, "needs": (),
        }  # fmt: skip
        dataset = prepare(recipe.data.model_copy(update=own), low_quality=recipe.method.uses_low_quality)
        stream = BatchStream(dataset, batch_size, 0, BatchRng.of(0), device=device)
        next(stream)
        seconds = []
        for _ in range(BATCHES):
            started = time.perf_counter()
            next(stream)
            wait_for(device)
            seconds.append(time.perf_counter() - started)
        return statistics.median(seconds)
