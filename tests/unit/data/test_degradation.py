from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from ctfgan.data.images import to_picture
from ctfgan.data.low_quality_bank import degrade
from ctfgan.data.settings import DegradationSettings


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("side", "size"), [(32, 8), (48, 16), (16, 16)])
def test_a_degraded_pixel_is_the_mean_of_its_box(channels: int, side: int, size: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (3, side, side, channels), dtype=np.uint8)
    step = side // size
    means = images.reshape(3, size, step, size, step, channels).mean(axis=(2, 4))
    degraded = degrade(images, DegradationSettings(size=size), seed=0)
    assert degraded.dtype == np.uint8
    assert np.abs(degraded - means).max() <= 1  # Pillow rounds after rows and again after columns


def test_contrast_pulls_towards_middle_grey() -> None:
    images = np.repeat(np.array([0, 55, 255], dtype=np.uint8), 64).reshape(3, 8, 8, 1)
    degraded = degrade(images, DegradationSettings(size=4, contrast=0.5), seed=0)
    assert [set(np.unique(image)) for image in degraded] == [{64}, {91}, {191}]


def test_noise_has_the_asked_deviation_and_no_bias() -> None:
    grey = np.full((20, 32, 32, 1), 128, dtype=np.uint8)
    noise = degrade(grey, DegradationSettings(size=32, noise=0.1), seed=3).astype(float) - 128
    assert noise.std() == pytest.approx(25.5, rel=0.03)
    assert noise.mean() == pytest.approx(0, abs=0.6)


def test_a_copy_does_not_depend_on_the_other_images() -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 16, 16, 1), dtype=np.uint8)
    others = images.copy()
    others[[0, 1, 3, 4]] = 7
    how = DegradationSettings(size=8, noise=0.2, contrast=0.8)
    assert np.array_equal(degrade(images, how, 4)[2], degrade(others, how, 4)[2])
    assert np.array_equal(degrade(images, how, 4)[:3], degrade(images[:3], how, 4))


def test_every_image_and_every_seed_has_its_own_noise() -> None:
    grey = np.full((2, 16, 16, 1), 128, dtype=np.uint8)
    how = DegradationSettings(size=8, noise=0.1)
    first, second = degrade(grey, how, seed=0)
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, degrade(grey, how, seed=1)[0])


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("side", "size"), [(32, 8), (48, 16), (33, 32), (64, 7), (20, 13), (101, 16), (16, 16)])
def test_averages_are_those_of_pillow_bit_for_bit(channels: int, side: int, size: int) -> None:
    images = np.random.default_rng(side).integers(0, 256, (3, side, side, channels), dtype=np.uint8)
    degraded = degrade(images, DegradationSettings(size=size), seed=0)
    for image, averages in zip(images, degraded, strict=True):
        small = to_picture(image).resize((size, size), Image.Resampling.BOX)
        assert np.array_equal(np.asarray(small).reshape(size, size, channels), averages)


def test_a_copy_can_be_made_of_any_random_stream() -> None:
    images = np.random.default_rng(0).integers(0, 256, (6, 16, 16, 1), dtype=np.uint8)
    how = DegradationSettings(size=8, noise=0.2)
    chosen = np.array([5, 0, 3])
    assert np.array_equal(degrade(images[chosen], how, 4, chosen), degrade(images, how, 4)[chosen])
