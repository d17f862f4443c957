from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from ctfgan.training.losses import (
    ADVERSARIAL_LOSSES,
    box_distance,
    hinge_discriminator,
    low_quality_consistency,
    sampled_cross_entropy,
)


def test_the_hinge_loss_is_zero_beyond_the_margins_and_linear_inside() -> None:
    assert hinge_discriminator(torch.tensor([1.0, 3.0]), torch.tensor([-1.0, -2.0])).item() == 0
    assert hinge_discriminator(torch.tensor([0.5, 3.0]), torch.tensor([0.0, -2.0])).item() == pytest.approx(0.25 + 0.5)
    assert ADVERSARIAL_LOSSES["hinge"].generator(None, torch.tensor([1.0, -3.0])).item() == 1.0


def test_the_relativistic_loss_compares_image_by_image_and_is_the_same_game_for_both_players() -> None:
    real, fake = torch.tensor([2.0, 0.0]), torch.tensor([1.0, 3.0])
    loss = ADVERSARIAL_LOSSES["relativistic"]
    by_hand = [math.log1p(math.exp(1.0 - 2.0)), math.log1p(math.exp(3.0 - 0.0))]
    assert loss.discriminator(real, fake).item() == pytest.approx(sum(by_hand) / 2)
    assert loss.generator(real, fake).item() == pytest.approx(loss.discriminator(fake, real).item())
    assert loss.discriminator(real + 5, fake + 5).item() == pytest.approx(sum(by_hand) / 2)  # only differences count


def test_the_critic_of_the_wasserstein_game_wants_real_images_above_fakes() -> None:
    loss = ADVERSARIAL_LOSSES["wasserstein"]
    assert loss.discriminator(torch.tensor([4.0, 2.0]), torch.tensor([1.0, 0.0])).item() == pytest.approx(0.5 - 3.0)
    assert loss.generator(None, torch.tensor([1.0, 0.0])).item() == pytest.approx(-0.5)


def test_the_box_distance_is_quadratic_below_one_and_zero_for_equal_boxes() -> None:
    box = torch.tensor([[0.1, 0.2, 0.5, 0.6]])
    assert box_distance(box, box).item() == 0
    assert box_distance(box + 0.2, box).item() == pytest.approx(0.5 * 0.2**2)


def test_consistency_ignores_what_area_averaging_removes() -> None:
    images = torch.zeros(1, 1, 8, 8)
    images[..., ::2] = 1.0
    images[..., 1::2] = -1.0  # stripes average to zero
    assert low_quality_consistency(images, torch.zeros(1, 1, 4, 4), 2).item() == pytest.approx(0)
    assert low_quality_consistency(images + 0.3, torch.zeros(1, 1, 4, 4), 2).item() == pytest.approx(0.3)


def test_consistency_counts_only_images_that_are_held_to_their_own_class() -> None:
    images, low_quality = torch.randn(4, 1, 8, 8), torch.randn(4, 1, 4, 4)
    own = torch.tensor([True, False, False, True])
    one_by_one = [low_quality_consistency(images[row, None], low_quality[row, None], 2) for row in (0, 3)]
    part = low_quality_consistency(images, low_quality, 2, own)
    torch.testing.assert_close(part, sum(one_by_one) / 4)
    whole = low_quality_consistency(images, low_quality, 2)
    torch.testing.assert_close(low_quality_consistency(images, low_quality, 2, torch.ones(4, dtype=torch.bool)), whole)


def test_sampling_every_other_class_once_gives_the_full_cross_entropy() -> None:
    logits, labels = torch.randn(4, 9, dtype=torch.float64), torch.tensor([0, 8, 3, 3])
    everybody = torch.arange(9)
    found = sampled_cross_entropy(logits.gather(1, labels[:, None])[:, 0], logits, everybody == labels[:, None], 9)
    torch.testing.assert_close(found, F.cross_entropy(logits, labels))


def test_a_sample_stands_for_all_other_classes_on_average() -> None:
    """The estimate of the softmax's denominator has no bias, so exp(loss) is right on average."""
    rng = torch.Generator().manual_seed(0)
    logits, label = torch.randn(50, generator=rng, dtype=torch.float64), 7
    losses = []
    for _ in range(4_000):
        others = torch.randint(50, (10,), generator=rng)
        hit = (others == label)[None]
        losses.append(sampled_cross_entropy(logits[label][None], logits[others][None], hit, 50))
    expected = F.cross_entropy(logits[None], torch.tensor([label])).exp()
    torch.testing.assert_close(torch.stack(losses).exp().mean(), expected, rtol=0.02, atol=0)
