"""Can samples stand in for real images? A classifier trained on samples, tested on real images.

Ravuri and Vinyals, "Classification Accuracy Score for Conditional Generative Models", 2019; with the recogniser's
architecture instead of a ResNet-50, and beside it the same classifier trained on as many real images.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ctfgan.metrics.reading import Chunk
from ctfgan.metrics.recogniser import TrainedRecogniser, TrainingImages, recogniser_for
from ctfgan.metrics.settings import RecogniserSettings
from ctfgan.progress import Progress


@dataclass(frozen=True)
class ClassificationScore:
    """Accuracies on the reference of two classifiers that differ in their training images alone."""

    trained_on_samples: float
    trained_on_real: float
    """The same number of training images of every class."""
    images: int
    """Training images of each."""
    real: int
    """Held-out real images that both were tested on."""

    def sentence(self) -> str:
        """Both accuracies in one line."""
        return (
            f"a classifier trained on {self.images:,} samples reads {self.trained_on_samples:.1%} of {self.real:,} "
            f"held-out real images right, one trained on as many real images {self.trained_on_real:.1%}"
        )


def classification_score(
    real: TrainingImages,
    samples: Iterable[Chunk],
    reference: Iterable[Chunk],
    num_classes: int,
    settings: RecogniserSettings,
    cache: Path,
    device: torch.device,
    progress: Progress,
) -> ClassificationScore:
    """Train two recognisers and test them.

    Args:
        real: real training images; the classifier of these is kept in the cache.
        samples: generated images of the same classes, as many as ``real`` has rows, in order of these rows.
        reference: the held-out real images with their labels.
        num_classes: C.
        settings: architecture and training of both.
        cache: folder of recognisers.
        device: where all run.
        progress: shows the training.
    """
    with tempfile.TemporaryDirectory(prefix="ctfgan-") as folder:
        made = _on_disk(samples, real, Path(folder))
        by_samples = recogniser_for(made, num_classes, settings, Path(folder), device, progress)
        by_real = recogniser_for(real, num_classes, settings, cache, device, progress)
        hits, count = np.zeros(2), 0
        for images, labels in reference:
            assert labels is not None, "the reference is labelled"
            hits += [_hits(trained, images, labels.numpy()) for trained in (by_samples, by_real)]
            count += len(images)
    return ClassificationScore(float(hits[0] / count), float(hits[1] / count), len(real.rows), count)


def _on_disk(samples: Iterable[Chunk], like: TrainingImages, folder: Path) -> TrainingImages:
    shape = (len(like.rows), *like.images.shape[1:])
    kept = np.lib.format.open_memmap(folder / "samples.npy", mode="w+", dtype=np.uint8, shape=shape)
    start = 0
    for images, _ in samples:
        kept[start : start + len(images)] = images
        start += len(images)
    assert start == len(kept), f"{len(kept)} samples were announced and {start} came"
    return TrainingImages(kept, np.arange(len(kept)), like.labels, "samples")


def _hits(trained: TrainedRecogniser, images: NDArray[np.uint8], labels: NDArray[np.int64]) -> int:
    _, probabilities = trained.read(images)
    return int((probabilities.argmax(dim=1).numpy() == labels).sum())
