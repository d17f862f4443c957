from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from ctfgan.metrics.recogniser import recogniser_for
from ctfgan.metrics.settings import RecogniserSettings

SETTINGS = RecogniserSettings(width=4, features=8, images=4_000, batch_size=32)
CPU = torch.device("cpu")


def stripes(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two classes that differ by the direction of stripes, under noise."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    lines = np.indices((16, 16))[labels] // 2 % 2 * 120
    return (lines + rng.integers(0, 100, (count, 16, 16))).astype(np.uint8)[..., None], labels


def test_it_learns_to_tell_classes_of_unseen_images_apart(tmp_path: Path) -> None:
    recogniser = recogniser_for(*stripes(200, 0), 2, SETTINGS, tmp_path, CPU, lambda items, total, what: items)
    images, labels = stripes(100, 1)
    features, probabilities = recogniser.read(images)
    assert features.shape == (100, 8)
    assert (probabilities.argmax(dim=1).numpy() == labels).mean() > 0.95


def test_it_is_trained_once_for_the_same_images_and_again_for_others(tmp_path: Path) -> None:
    trained: list[str] = []

    def spy(items: object, total: int, what: str) -> object:
        trained.append(what)
        return items

    images, labels = stripes(64, 0)
    few = SETTINGS.model_copy(update={"images": 64})
    first = recogniser_for(images, labels, 2, few, tmp_path, CPU, spy)  # type: ignore[arg-type]
    assert recogniser_for(images, labels, 2, few, tmp_path, CPU, spy).name == first.name  # type: ignore[arg-type]
    assert len(trained) == 1
    images = images.copy()
    images[0, 0, 0] ^= 1
    recogniser_for(images, labels, 2, few, tmp_path, CPU, spy)  # type: ignore[arg-type]
    assert len(trained) == 2


def test_training_does_not_touch_the_global_random_state(tmp_path: Path) -> None:
    before = torch.random.get_rng_state()
    few = SETTINGS.model_copy(update={"images": 64})
    recogniser_for(*stripes(64, 0), 2, few, tmp_path, CPU, lambda items, total, what: items)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("channels", [1, 3])
def test_it_reads_grey_and_colour(channels: int, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (40, 24, 24, channels), dtype=np.uint8)
    few = SETTINGS.model_copy(update={"images": 64})
    recogniser = recogniser_for(images, np.arange(40) % 3, 3, few, tmp_path, CPU, lambda items, total, what: items)
    features, probabilities = recogniser.read(images)
    assert features.isfinite().all()
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(40))
