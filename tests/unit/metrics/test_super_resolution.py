"""Several results of one low-quality image: fidelity and spread against plain loops."""

from __future__ import annotations

import math
from statistics import fmean, stdev

import numpy as np
import pytest
import torch

from ctfgan.data.low_quality_bank import degrade
from ctfgan.data.settings import DegradationSettings
from ctfgan.metrics.super_resolution import low_quality_psnr, pixel_spread, score_results


def test_psnr_is_that_of_block_means_on_the_scale_of_bytes() -> None:
    rng = np.random.default_rng(0)
    results = rng.integers(0, 256, (3, 12, 12, 3), dtype=np.uint8)
    low = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    expected = []
    for image in results.astype(float):
        errors = [
            (round(image[3 * y : 3 * y + 3, 3 * x : 3 * x + 3, c].mean()) - float(low[y, x, c])) ** 2
            for y in range(4)
            for x in range(4)
            for c in range(3)
        ]
        expected.append(20 * math.log10(255 / math.sqrt(fmean(errors))))
    assert low_quality_psnr(results, low) == pytest.approx(fmean(expected), abs=0.02)  # halves may be rounded up


def test_what_reduces_to_the_image_itself_is_as_near_as_bytes_can_tell() -> None:
    low = np.random.default_rng(0).integers(0, 256, (4, 4, 1), dtype=np.uint8)
    enlarged = low.repeat(3, axis=0).repeat(3, axis=1)[None]
    assert low_quality_psnr(enlarged, low) == pytest.approx(10 * math.log10(255**2 * 12))
    off_by_ten = np.where(enlarged < 128, enlarged + 10, enlarged - 10).astype(np.uint8)
    assert low_quality_psnr(off_by_ten, low) == pytest.approx(20 * math.log10(25.5))


def test_the_original_of_a_degraded_copy_is_as_near_as_can_be_whatever_the_sizes() -> None:
    originals = np.random.default_rng(3).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    low = degrade(originals, DegradationSettings(size=12), seed=0)
    assert low_quality_psnr(originals[:1], low[0]) > 58.9 > 30 > low_quality_psnr(originals[1:], low[0])


def test_spread_is_the_standard_deviation_of_each_pixel() -> None:
    results = np.random.default_rng(1).integers(0, 256, (5, 2, 3, 1), dtype=np.uint8)
    pixels = results.reshape(5, -1).T.astype(float)
    assert pixel_spread(results) == pytest.approx(fmean(stdev(values) for values in pixels))
    assert pixel_spread(results[:1].repeat(5, axis=0)) == 0


def test_diversity_is_relative_to_real_images_of_the_class() -> None:
    rng = np.random.default_rng(2)
    low = rng.integers(0, 256, (2, 4, 4, 1), dtype=np.uint8)
    results = list(rng.integers(0, 256, (2, 3, 8, 8, 1), dtype=np.uint8))
    features = [torch.tensor([[0.0], [1.0], [3.0]]), torch.tensor([[0.0], [0.0], [0.0]])]  # distances 1, 2, 3 and none
    scores = score_results(low, results, features, [2.0, 6.0])
    assert scores.diversity == pytest.approx(fmean([2, 0]) / 4)
    assert scores.psnr == pytest.approx(fmean(low_quality_psnr(*pair) for pair in zip(results, low, strict=True)))
    assert score_results(low, results, features, [0.0, 0.0]).diversity is None
