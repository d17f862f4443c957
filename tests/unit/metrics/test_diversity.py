from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from ctfgan.metrics.diversity import PRIOR_IMAGES, ClassDiversity, mean_distance, pick_by_class, relative_diversity


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_mean_distance_is_that_of_all_pairs() -> None:
    features = drawn(2, 5, 3)
    for rows, found in zip(features, mean_distance(features), strict=True):
        pairs = [float((a - b).norm()) for a, b in itertools.combinations(rows, 2)]
        assert found.item() == pytest.approx(sum(pairs) / len(pairs), rel=1e-5)
    assert mean_distance(torch.full((40, 3), 1e3)).item() == 0.0


def test_samples_drawn_as_the_real_images_have_a_diversity_of_one() -> None:
    real, labels = drawn(1_600, 16), np.arange(1_600) % 4
    diversity = ClassDiversity(real, labels, 4, samples=150)
    assert diversity.of(drawn(4, 150, 16, seed=1)) == pytest.approx([1.0] * 4, abs=0.05)
    assert relative_diversity(drawn(500, 16, seed=2), real) == pytest.approx(1.0, abs=0.05)


def test_a_class_of_one_picture_stands_out() -> None:
    diversity = ClassDiversity(drawn(60, 8), np.arange(60) % 3, 3, samples=10)
    samples = drawn(3, 10, 8, seed=1)
    samples[1] = samples[1, :1]
    found = diversity.of(samples)
    assert found[1] == 0.0
    assert diversity.floor is not None
    assert min(found[0], found[2]) > diversity.floor  # type: ignore[type-var, operator]


def test_the_floor_falls_with_the_number_of_samples() -> None:
    """With pairs alone even real images are alike by chance; with many they are not."""
    real, labels = drawn(2_000, 2), np.arange(2_000) % 20
    floors = [ClassDiversity(real, labels, 20, samples=count).floor for count in (2, 8, 40)]
    assert floors == sorted(floors)  # type: ignore[type-var]
    assert floors[0] < 0.3 < 0.7 < floors[2]  # type: ignore[operator]


def test_a_class_of_few_images_borrows_from_all() -> None:
    real = torch.cat([drawn(40, 4), drawn(1, 4)])
    labels = np.array([0] * 20 + [1] * 20 + [2])
    large = [mean_distance(real[:20]).item(), mean_distance(real[20:40]).item()]
    mean = sum(large) / 2
    samples = torch.zeros(3, 2, 4)
    samples[:, 1, 0] = 1.0
    expected = [1 / ((20 * own + PRIOR_IMAGES * mean) / (20 + PRIOR_IMAGES)) for own in large] + [1 / mean]
    assert ClassDiversity(real, labels, 3, samples=2).of(samples) == pytest.approx(expected, rel=1e-5)


def test_real_images_that_are_all_alike_measure_nothing() -> None:
    same = torch.ones(20, 4)
    diversity = ClassDiversity(same, np.arange(20) % 2, 2, samples=4)
    assert diversity.of(drawn(2, 4, 4)) == [None, None]
    assert diversity.floor is None
    assert relative_diversity(drawn(4, 4), same) is None
    assert relative_diversity(drawn(1, 4), drawn(9, 4)) is None


def test_images_are_picked_evenly_and_small_classes_whole() -> None:
    labels = np.array([2, 0, 0, 1, 0, 2, 0, 0])
    places = pick_by_class(labels, 2, seed=0)
    assert np.bincount(labels[places]).tolist() == [2, 1, 2]
    assert places.tolist() == sorted(places.tolist())
    assert len({tuple(pick_by_class(labels, 2, seed)) for seed in range(20)}) > 1
