"""How far low-quality images can be averaged down: known by construction."""

import numpy as np
import pytest

from ctfgan.data.low_quality_bank import LowQualityBank


def bank(sides: int, size: int = 16, noise: float = 0.0) -> LowQualityBank:
    """Images of ``sides`` x ``sides`` flat fields of random levels."""
    rng = np.random.default_rng(0)
    fields = rng.uniform(40, 215, (600, sides, sides, 1)).repeat(size // sides, 1).repeat(size // sides, 2)
    images = fields + rng.normal(0, noise, fields.shape)
    return LowQualityBank(images.clip(0, 255).astype(np.uint8), np.zeros(600, dtype=np.int64), None)


@pytest.mark.parametrize("sides", [2, 4, 8, 16])
def test_the_detail_of_flat_fields_is_their_number_on_a_side(sides: int) -> None:
    assert bank(sides).detail() == sides


def test_a_little_noise_is_no_detail() -> None:
    assert bank(4, noise=15).detail() == 4
    assert bank(4, noise=80).detail() == 16


def test_sides_are_divisors_of_the_images_side() -> None:
    assert bank(3, size=12).detail() == 3
    assert bank(5, size=15).detail() == 5
