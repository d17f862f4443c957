from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from ctfgan.metrics.usual_augmentation import ERASED_AREA, UsualAugmentation, affine, erase


@pytest.mark.parametrize("channels", [1, 3])
def test_shape_type_and_range_stay_and_the_seed_decides(channels: int) -> None:
    images = torch.rand(40, channels, 16, 16) * 2 - 1
    augmented = UsualAugmentation(flips=True)(images, np.random.default_rng(0))
    assert augmented.shape == images.shape
    assert augmented.dtype == images.dtype
    assert augmented.abs().max() <= 1
    assert torch.equal(augmented, UsualAugmentation(flips=True)(images, np.random.default_rng(0)))
    assert not torch.equal(augmented, UsualAugmentation(flips=True)(images, np.random.default_rng(1)))


def test_copies_of_an_image_in_one_batch_become_different_ones() -> None:
    images = torch.rand(1, 1, 16, 16).expand(20, 1, 16, 16)
    augmented = UsualAugmentation(flips=False)(images, np.random.default_rng(0))
    assert len(torch.unique(augmented.flatten(1), dim=0)) == 20


def test_half_of_the_images_are_mirrored_if_asked_for_and_none_else() -> None:
    """Images that are dark on the left; neither ten degrees nor a tenth of the side change that."""
    images = torch.full((400, 1, 16, 16), -1.0)
    images[..., 8:] = 1
    for flips, low, high in ((False, 0, 0), (True, 160, 240)):
        augmented = UsualAugmentation(flips)(images, np.random.default_rng(0))
        is_mirrored = augmented[..., :8].mean(dim=(1, 2, 3)) > augmented[..., 8:].mean(dim=(1, 2, 3))
        assert low <= int(is_mirrored.sum()) <= high


@pytest.mark.parametrize(
    ("degrees", "scale", "right", "down"),
    [(0, 1, 0.25, 0), (0, 1, 0, -0.125), (10, 1, 0, 0), (0, 1.1, 0, 0), (-7, 0.9, 0.05, -0.1)],
)
def test_images_are_turned_scaled_and_shifted_as_by_pillow(
    degrees: float, scale: float, right: float, down: float
) -> None:
    side = 24
    image = np.random.default_rng(0).random((side, side), dtype=np.float32)
    turned = affine(torch.from_numpy(image)[None, None], *(np.array([v]) for v in (degrees, scale, right, down)))
    # Of pixels x + iy: shifted back, then about the middle clockwise, a positive angle where y points down.
    middle, factor = complex(side / 2, side / 2), np.exp(1j * np.radians(degrees)) / scale
    origin = middle + factor * (-middle - side * complex(right, down))
    across, along = factor, factor * 1j
    coefficients = (across.real, along.real, origin.real, across.imag, along.imag, origin.imag)
    expected = Image.fromarray(image).transform(
        (side, side), Image.Transform.AFFINE, coefficients, Image.Resampling.BILINEAR
    )
    inside = slice(8, -8)  # beyond it Pillow has no edge to repeat
    np.testing.assert_allclose(turned[0, 0, inside, inside], np.asarray(expected)[inside, inside], atol=1e-4)
    if scale == 1 and right == down == 0:
        by_angle = np.asarray(Image.fromarray(image).rotate(degrees, Image.Resampling.BILINEAR))
        np.testing.assert_allclose(turned[0, 0, inside, inside], by_angle[inside, inside], atol=1e-4)


def test_what_comes_in_repeats_the_edge() -> None:
    image = torch.rand(1, 2, 10, 10)
    zero, one = np.zeros(1), np.ones(1)
    moved = affine(image, zero, one, 0.2 * one, zero)
    torch.testing.assert_close(moved[..., 2:], image[..., :-2])
    torch.testing.assert_close(moved[..., :2], image[..., :1].expand(-1, -1, -1, 2))


def test_one_rectangle_of_a_usual_size_is_erased_in_the_chosen_images() -> None:
    rng = np.random.default_rng(0)
    chosen = np.arange(300) % 2 == 0
    erased = (erase(torch.ones(300, 3, 32, 32), chosen, rng.random((300, 4))) == 0).numpy()
    assert (erased.any(axis=(1, 2, 3)) == chosen).all()
    areas = []
    for image in erased[chosen]:
        rows, columns = image.any(axis=(0, 2)), image.any(axis=(0, 1))
        assert (image == rows[:, None] * columns).all(), "the same in every channel"
        assert np.ptp(np.flatnonzero(rows)) + 1 == rows.sum()
        assert np.ptp(np.flatnonzero(columns)) + 1 == columns.sum()
        areas.append(rows.mean() * columns.mean())
    assert ERASED_AREA[0] - 0.01 < min(areas) < 0.05
    assert 0.3 < max(areas) < ERASED_AREA[1] + 0.02
