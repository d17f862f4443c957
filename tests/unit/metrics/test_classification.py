from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from ctfgan.metrics.classification import classification_score
from ctfgan.metrics.recogniser import TrainingImages
from ctfgan.metrics.settings import RecogniserSettings
from ctfgan.progress import silent
from tests.unit.metrics.test_recogniser import stripes

SETTINGS = RecogniserSettings(width=4, features=8, images=2_000, batch_size=32)


def score_of(samples: np.ndarray, folder: Path) -> tuple[float, float, int, int]:
    images, labels = stripes(200, 0)
    real = TrainingImages(images, np.arange(200), labels, "stripes")
    test_images, test_labels = stripes(60, 1)
    chunks = ((part, None) for part in np.split(samples, 2))
    found = classification_score(
        real, chunks, [(test_images, torch.from_numpy(test_labels))], 2, SETTINGS, folder, torch.device("cpu"), silent
    )
    return found.trained_on_samples, found.trained_on_real, found.images, found.real


def test_samples_like_real_images_teach_as_much_and_noise_teaches_nothing(tmp_path: Path) -> None:
    good, real, images, tested = score_of(stripes(200, 2)[0], tmp_path)
    assert good > 0.95
    assert real > 0.95
    assert (images, tested) == (200, 60)
    noise = np.random.default_rng(0).integers(0, 256, (200, 16, 16, 1), dtype=np.uint8)
    bad, again, *_ = score_of(noise, tmp_path)
    assert bad < 0.8
    assert again == real


def test_only_the_classifier_of_real_images_is_kept(tmp_path: Path) -> None:
    score_of(stripes(200, 2)[0], tmp_path)
    assert len(list((tmp_path / "recognisers").iterdir())) == 1
