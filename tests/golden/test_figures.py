"""Figures against numpy and scipy."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch

from ctfgan.metrics.copies import check_copies
from ctfgan.metrics.figures import frechet_distance, measure


def test_frechet_distance_equals_the_formula_with_scipys_matrix_root() -> None:
    rng = np.random.default_rng(0)
    one = rng.normal(size=(500, 6))
    other = rng.normal(size=(400, 6)) @ rng.normal(size=(6, 6)) + 0.5
    covariances = np.cov(one, rowvar=False), np.cov(other, rowvar=False)
    root = scipy.linalg.sqrtm(covariances[0] @ covariances[1]).real
    expected = np.sum((one.mean(0) - other.mean(0)) ** 2) + np.trace(covariances[0] + covariances[1] - 2 * root)
    assert frechet_distance(torch.from_numpy(one), torch.from_numpy(other)) == pytest.approx(expected, rel=1e-6)


def test_the_score_is_the_exponential_of_the_mean_divergence_from_the_marginal() -> None:
    rng = np.random.default_rng(1)
    probabilities = rng.dirichlet(np.full(7, 0.3), size=1_000)
    features = torch.from_numpy(rng.normal(size=(1_000, 4)))
    figures = measure(features, torch.from_numpy(probabilities), features, None)
    marginal = probabilities.mean(0)
    divergence = (probabilities * np.log(probabilities.clip(1e-12) / marginal)).sum(1)
    # Ten splits have slightly different marginals, so the mean over splits is only near the score of all.
    assert figures.score_mean == pytest.approx(np.exp(divergence.mean()), rel=0.03)
    assert figures.top_1 is None


def test_top_1_and_top_5_count_the_intended_class_among_the_first() -> None:
    probabilities = torch.tensor([[0.5, 0.2, 0.1, 0.08, 0.07, 0.05]] * 4)
    features = torch.randn(4, 2, generator=torch.Generator().manual_seed(2))
    figures = measure(features.repeat(10, 1), probabilities.repeat(10, 1), features.repeat(10, 1),
                      torch.tensor([0, 1, 4, 5]).repeat(10))  # fmt: skip
    assert figures.top_1 == pytest.approx(1 / 4)
    assert figures.top_5 == pytest.approx(3 / 4)


def test_equal_sets_have_distance_zero_and_figures_do_not_touch_the_global_random_state() -> None:
    features = torch.randn(300, 5, generator=torch.Generator().manual_seed(3))
    probabilities = torch.full((300, 4), 0.25)
    before = torch.random.get_rng_state()
    figures = measure(features, probabilities, features, None)
    assert figures.frechet == pytest.approx(0, abs=1e-6)
    assert figures.kid < 0.01  # unbiased, and below zero for a set against itself
    assert torch.equal(before, torch.random.get_rng_state())


def test_copies_are_seen_and_new_images_are_not_called_copies() -> None:
    rng = np.random.default_rng(4)
    training, held_out, fresh = (rng.integers(0, 256, (400, 16, 16, 1), dtype=np.uint8) for _ in range(3))
    assert check_copies(training[:200], held_out, training).closer_than_real == 1
    assert check_copies(fresh, held_out, training).closer_than_real < 0.1
