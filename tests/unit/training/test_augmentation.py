from __future__ import annotations

import pytest
import torch

from ctfgan.distributed.random_streams import BatchRng
from ctfgan.training.regularization import OPERATIONS, Augmentation, cutout, translation
from ctfgan.training.settings import AugmentationSettings


def images(count: int = 6, channels: int = 3, side: int = 16) -> torch.Tensor:
    return torch.rand(count, channels, side, side, generator=torch.Generator().manual_seed(0)) * 2 - 1


def augmentation(**settings: object) -> Augmentation:
    return Augmentation(AugmentationSettings.model_validate(settings), BatchRng.of(1))


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_passes_gradients_twice(name: str) -> None:
    given = images().double().requires_grad_()
    draws = torch.rand(6, 2, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    (first,) = torch.autograd.grad(OPERATIONS[name](given, draws).square().sum(), given, create_graph=True)
    assert first.isfinite().all()
    assert first.abs().sum() > 0
    first.sum().backward()
    assert given.grad is not None
    assert given.grad.isfinite().all()


@pytest.mark.parametrize("name", OPERATIONS)
def test_every_operation_changes_some_images_and_keeps_their_shape(name: str) -> None:
    given = images()
    changed = augmentation(policy=(name,))(given)
    assert changed.shape == given.shape
    assert not torch.equal(changed, given)


def test_a_shift_moves_pixels_and_brings_in_middle_grey() -> None:
    given = images(1)
    # The first draw is of x: 0.999 is the whole reach to the right, 0.5 is no shift at all.
    moved = translation(given, torch.tensor([[0.999, 0.5]]))
    assert torch.equal(moved[..., 2:], given[..., :-2])
    assert moved[..., :2].abs().max() == 0
    upwards = translation(given, torch.tensor([[0.5, 0.0]]))
    assert torch.equal(upwards[:, :, :-2], given[:, :, 2:])


def test_cutout_greys_a_square_of_half_the_side_around_its_centre() -> None:
    ones = torch.ones(1, 1, 16, 16)
    cut = cutout(ones, torch.tensor([[0.5, 0.5]]))[0, 0]
    assert (cut == 0).sum() == 8 * 8
    assert cut[4:12, 4:12].abs().max() == 0
    assert (cutout(ones, torch.tensor([[0.0, 0.5]]))[0, 0] == 0).sum() == 4 * 8  # half of it lies outside


def test_with_probability_zero_nothing_happens_and_in_between_some_images_stay() -> None:
    given = images(200, 1, 8)
    assert torch.equal(augmentation(policy=("brightness",), probability=0.0)(given), given)
    changed = (augmentation(policy=("brightness",), probability=0.3)(given) != given).flatten(1).any(dim=1)
    assert 30 < changed.sum() < 90


def test_the_probability_rises_while_the_discriminator_is_too_sure_of_real_images_and_falls_back() -> None:
    steered = augmentation(policy=("cutout",), target=0.6, images_to_full=100)
    assert steered.probability == 0
    for _ in range(5):
        steered.observe(torch.ones(10))
    assert steered.probability == pytest.approx(0.5)
    for _ in range(100):
        steered.observe(torch.ones(10))
    assert steered.probability == 1
    steered.observe(torch.tensor([1.0] * 5 + [-1.0] * 5))
    assert steered.probability == pytest.approx(0.9)


def test_a_restored_probability_goes_on_where_it_stood() -> None:
    one, other = (augmentation(policy=("cutout",), target=0.6, images_to_full=100) for _ in range(2))
    one.observe(torch.ones(30))
    other.restore(one.state())
    assert other.probability == one.probability == pytest.approx(0.3)
