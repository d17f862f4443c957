from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from ctfgan.metrics.classification import ClassificationScore, classification_score, gain_interval
from ctfgan.metrics.eval_classifier import EvalClassifierTrainer, TrainingImages
from ctfgan.metrics.settings import EvalClassifierSettings
from tests.unit.metrics.test_eval_classifier import stripes

SETTINGS = EvalClassifierSettings(width=4, features=8, images=1_000, batch_size=16)


def score_of(samples: np.ndarray, labels: np.ndarray, folder: Path, *, real: int = 200) -> ClassificationScore:
    images, real_labels = stripes(200, 0)
    rows = np.arange(200 - real, 200)
    training = TrainingImages(images, rows, real_labels[rows], "stripes")
    test_images, test_labels = stripes(60, 1)
    halves = zip(np.array_split(samples, 2), np.array_split(labels, 2), strict=True)
    chunks = ((part, torch.from_numpy(shown)) for part, shown in halves)
    reference = [(part, torch.from_numpy(told)) for part, told in ((test_images[:25], test_labels[:25]),
                                                                  (test_images[25:], test_labels[25:]))]  # fmt: skip
    trainer = EvalClassifierTrainer(SETTINGS, torch.device("cpu"), cache=folder)
    return classification_score(trainer, training, chunks, len(samples), reference, ("across", "down"), seeds=2)


def test_good_samples_teach_as_much_as_real_images_and_noise_teaches_nothing(
    tmp_path: Path,
) -> None:
    good = score_of(*stripes(150, 2), tmp_path)
    assert min(good.real.accuracy, good.generated.accuracy, good.both.accuracy) > 0.95
    assert (good.real.images, good.generated.images, good.both.images) == (200, 150, 350)
    assert (good.held_out, good.steps, len(good.real.by_seed)) == (60, 62, 2)
    assert good.real.accuracy == pytest.approx(np.mean(good.real.by_seed))
    assert good.gain == good.both.accuracy - good.real.accuracy
    noise = np.random.default_rng(0).integers(0, 256, (200, 16, 16, 1), dtype=np.uint8)
    bad = score_of(noise, np.arange(200) % 2, tmp_path)
    assert bad.generated.accuracy < 0.8
    assert bad.real == good.real
    assert len(list((tmp_path / "recognisers").iterdir())) == 2, "only classifiers of real images are kept"


def test_samples_help_where_the_real_images_lack_a_class(tmp_path: Path) -> None:
    samples, labels = stripes(150, 2)
    images, real_labels = stripes(200, 0)
    rows = np.flatnonzero(real_labels == 0)
    training = TrainingImages(images, rows, real_labels[rows], "one class")
    test_images, test_labels = stripes(60, 1)
    reference = [(test_images, torch.from_numpy(test_labels))]
    trainer = EvalClassifierTrainer(SETTINGS, torch.device("cpu"), cache=tmp_path)
    chunks = [(samples, torch.from_numpy(labels))]
    found = classification_score(trainer, training, chunks, len(samples), reference, ("across", "down"), seeds=2)
    share = float((test_labels == 0).mean())
    assert found.real.accuracy == pytest.approx(share), "only the class that it knows"
    assert found.is_distinguishable
    assert found.interval[0] > 0
    assert [(hard.name, hard.real) for hard in found.hardest] == [("down", 0.0), ("across", 1.0)]
    assert found.hardest[0].both > 0.9
    assert "adding the generated ones gains" in found.sentence()
    assert "points, distinguishable from none (95 % interval +" in found.sentence()
    assert "2 seeds, 62 steps each" in found.sentence()
    assert found.hardest_sentence().startswith("hardest classes, real alone -> with generated ones: down 0% -> ")


def test_one_seed_gives_mcnemars_interval() -> None:
    """The variance of the difference of two paired proportions, from the counts of disagreement alone."""
    gained, lost, same = 40, 10, 150
    count = gained + lost + same
    before = np.array([False] * gained + [True] * lost + [True] * same)[None]
    after = np.array([True] * gained + [False] * lost + [True] * same)[None]
    error = math.sqrt(gained + lost - (gained - lost) ** 2 / count) / count
    middle = (gained - lost) / count
    low, high = gain_interval(before, after)
    assert low == pytest.approx(middle - 1.96 * error, abs=2e-3)
    assert high == pytest.approx(middle + 1.96 * error, abs=2e-3)


def test_seeds_that_disagree_widen_the_interval_as_students_t_says() -> None:
    """Gains of single seeds of 0, 10 and 20 %, which nothing but the seed explains: t(0.975, 2) = 4.303."""
    before = np.zeros((3, 20_000), dtype=bool)
    after = np.zeros_like(before)
    for seed, share in enumerate((0.0, 0.1, 0.2)):
        after[seed, np.random.default_rng(seed).permutation(20_000)[: int(share * 20_000)]] = True
    low, high = gain_interval(before, after)
    assert (low + high) / 2 == pytest.approx(0.1, abs=5e-3)
    assert (high - low) / 2 == pytest.approx(4.303 * 0.1 / math.sqrt(3), rel=0.03)
    assert gain_interval(before, before) == (0.0, 0.0)


def test_an_interval_that_holds_the_truth_95_times_of_100() -> None:
    """Accuracies 0.70 and 0.73, no effect of the seed."""
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(200):
        low, high = gain_interval(rng.random((1, 400)) < 0.70, rng.random((1, 400)) < 0.73)
        held += low <= 0.03 <= high
    assert 180 <= held <= 198
