"""Figures against numpy and scipy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.linalg
import torch

from ctfgan.core.progress import silent
from ctfgan.metrics import features, scores
from ctfgan.metrics.features import ExtractedFeatures, extract_features
from ctfgan.metrics.memorization import check_memorization
from ctfgan.metrics.scores import ClassReference, frechet_distance, kernel_distance, prdc, score_features
from tests.unit.metrics.extractors import PixelExtractor, numbered_images


def frechet_by_scipy(one: np.ndarray, other: np.ndarray) -> float:
    covariances = np.cov(one, rowvar=False), np.cov(other, rowvar=False)
    root = scipy.linalg.sqrtm(covariances[0] @ covariances[1]).real
    return float(np.sum((one.mean(0) - other.mean(0)) ** 2) + np.trace(covariances[0] + covariances[1] - 2 * root))


def test_frechet_distance_equals_the_formula_with_scipys_matrix_root() -> None:
    rng = np.random.default_rng(0)
    one = rng.normal(size=(500, 6))
    other = rng.normal(size=(400, 6)) @ rng.normal(size=(6, 6)) + 0.5
    found = frechet_distance(torch.from_numpy(one), torch.from_numpy(other))
    assert found == pytest.approx(frechet_by_scipy(one, other), rel=1e-6)


@pytest.mark.parametrize("scaled", [True, False])
def test_kernel_distance_equals_explicit_sums_over_all_pairs(scaled: bool) -> None:
    rng = np.random.default_rng(1)
    real, fake = rng.normal(size=(40, 3)), rng.normal(size=(40, 3)) * 1.5 + 0.4
    found = kernel_distance(torch.from_numpy(real), torch.from_numpy(fake), scaled=scaled, seed=0)
    if scaled:
        root_mean_square = np.sqrt(np.mean(real**2))
        real, fake = real / root_mean_square, fake / root_mean_square

    def kernel(x: np.ndarray, y: np.ndarray) -> float:
        return float((np.dot(x, y) / 3 + 1) ** 3)

    within = [np.mean([kernel(s[i], s[j]) for i, j in itertools.permutations(range(40), 2)]) for s in (real, fake)]
    between = np.mean([kernel(x, y) for x in real for y in fake])
    assert found == pytest.approx(within[0] + within[1] - 2 * between, rel=1e-9)


def test_the_score_is_the_exponential_of_the_mean_divergence_from_the_marginal(monkeypatch: pytest.MonkeyPatch) -> None:
    images = np.random.default_rng(2).integers(0, 256, (500, 4, 4, 1), dtype=np.uint8)
    extractor = PixelExtractor(width=4, classes=7)

    def score() -> features.SplitScore:
        chunks = ((images[start : start + 64], None) for start in range(0, 500, 64))
        found = extract_features([extractor], chunks, 500, seed=0)["pixels"].score
        assert found is not None
        return found

    logits = extractor.logits(images).numpy().astype(np.float64)
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    p = exponentials / exponentials.sum(axis=1, keepdims=True)
    divergence = np.sum(p * (np.log(p) - np.log(p.mean(axis=0))), axis=1)
    ten = score()
    monkeypatch.setattr(features, "SCORE_SPLITS", 1)
    whole = score()
    assert whole.mean == pytest.approx(np.exp(divergence.mean()), rel=1e-5)
    assert whole.spread == 0
    # Ten splits have slightly different marginals: a score of few images is lower.
    assert 0.8 * whole.mean < ten.mean < whole.mean
    assert 0 < ten.spread < 0.2 * whole.mean


def test_precision_recall_density_and_coverage_equal_their_definitions_in_plain_loops() -> None:
    rng = np.random.default_rng(4)
    real, fake, k = rng.normal(size=(40, 2)), rng.normal(size=(30, 2)) * 0.6 + 0.7, 3

    def ball(images: np.ndarray, index: int) -> float:
        return float(sorted(np.linalg.norm(images[index] - other) for other in np.delete(images, index, axis=0))[k - 1])

    real_balls, fake_balls = ([ball(images, i) for i in range(len(images))] for images in (real, fake))
    hits = [[np.linalg.norm(x - y) <= radius for x, radius in zip(real, real_balls, strict=True)] for y in fake]
    found = prdc(torch.from_numpy(real), torch.from_numpy(fake), k, seed=0)
    assert found is not None
    assert found.precision == pytest.approx(sum(any(row) for row in hits) / 30)
    assert found.density == pytest.approx(sum(map(sum, hits)) / (k * 30))
    assert found.coverage == pytest.approx(sum(any(row[i] for row in hits) for i in range(40)) / 40)
    recalled = [any(np.linalg.norm(x - y) <= radius for y, radius in zip(fake, fake_balls, strict=True)) for x in real]
    assert found.recall == pytest.approx(sum(recalled) / 40)
    assert 0 < found.recall < found.precision < 1


def test_the_distance_per_class_is_the_mean_of_the_classes_own_distances(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scores, "FEWEST_REAL", 20)
    rng = np.random.default_rng(5)
    labels = np.repeat([0, 1, 2, 3], [30, 25, 10, 40])  # class 2 has too few
    real = rng.normal(size=(105, 3)) + labels[:, None]
    extractor = PixelExtractor(width=3, classes=4)
    drawn = {label: rng.integers(0, 256, (35, 4, 4, 1), dtype=np.uint8) for label in range(4)}
    reference = ClassReference({"pixels": torch.from_numpy(real)}, torch.from_numpy(labels), "abcd", wanted=9)
    found = reference.measure([extractor], lambda label: [(drawn[label], None)], 35, silent)["pixels"]
    expected = {
        "abcd"[label]: frechet_by_scipy(extractor.features(drawn[label]).numpy(), real[labels == label])
        for label in (0, 1, 3)
    }
    assert found.distances == pytest.approx(expected, rel=1e-6)
    assert found.mean == pytest.approx(sum(expected.values()) / 3)
    assert (found.fake, found.real, found.too_few) == (35, 25, 1)


def test_equal_sets_have_distance_zero_and_figures_do_not_touch_the_global_random_state() -> None:
    features = torch.randn(300, 5, generator=torch.Generator().manual_seed(3))
    before = torch.random.get_rng_state()
    found = score_features(
        ExtractedFeatures(features, None, False, None), features, PixelExtractor(5, 2).card, None, k=5, seed=0
    )
    assert found.frechet == pytest.approx(0, abs=1e-6)
    assert found.kernel < 0.01  # unbiased, and below zero for a set against itself
    assert found.neighbours is not None
    assert found.neighbours.precision == found.neighbours.recall == found.neighbours.coverage == 1
    assert found.neighbours.density == pytest.approx(1 + 1 / 5)  # an image lies in its own ball, too
    assert torch.equal(before, torch.random.get_rng_state())


def test_copies_are_seen_and_new_images_are_not_called_copies() -> None:
    rng = np.random.default_rng(4)
    training, held_out, fresh = (rng.integers(0, 256, (400, 16, 16, 1), dtype=np.uint8) for _ in range(3))
    assert check_memorization(training[:200], held_out, [training]).closer_than_real == 1
    assert check_memorization(fresh, held_out, [training]).closer_than_real < 0.1


def test_the_nearest_image_is_the_same_however_training_images_are_cut_into_chunks() -> None:
    training, asked = numbered_images(250, side=16), numbered_images(30, side=16)[::-1] // 2
    whole = check_memorization(asked, asked, [training])
    assert check_memorization(asked, asked, np.split(training, 5)) == whole
    nearest = [min(abs(int(a) - int(b)) for b in training[:, 0, 0, 0]) for a in asked[:, 0, 0, 0]]
    assert whole.median_generated == pytest.approx(float(np.median(nearest)))
