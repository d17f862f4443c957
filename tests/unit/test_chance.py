from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ctfgan.core.errors import ConfigError
from ctfgan.distributed.random_streams import BatchRng, PerImageRng, numbers_in_class
from ctfgan.models.interfaces import normal_noise
from ctfgan.training.objectives.adversarial import paste_patches
from ctfgan.training.regularization import Augmentation
from ctfgan.training.settings import AugmentationSettings


def rank_of(rank: int, processes: int, seed: int = 3) -> BatchRng:
    return BatchRng(torch.Generator().manual_seed(seed), rank, processes)


def interleaved(parts: list[Tensor]) -> Tensor:
    """Row i of process p is row i * processes + p of the whole."""
    return torch.stack(parts, dim=1).flatten(0, 1)


DRAWS: dict[str, Callable[[BatchRng, int], Tensor]] = {
    "normal": lambda batch_rng, count: batch_rng.normal(count, 3, 2),
    "uniform": lambda batch_rng, count: batch_rng.uniform(count, 5),
    "double": lambda batch_rng, count: batch_rng.uniform(count, dtype=torch.float64),
    "integers": lambda batch_rng, count: batch_rng.integers(-2, 9, count, 4),
    "latent": lambda batch_rng, count: normal_noise(count, 7, 3, 4, batch_rng).latent,
    "blocks": lambda batch_rng, count: normal_noise(count, 7, 3, 4, batch_rng).blocks,
}


@pytest.mark.parametrize("processes", [2, 3])
@pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)
def test_processes_see_together_what_one_sees_alone_and_stay_alike(
    draw: Callable[[BatchRng, int], Tensor], processes: int
) -> None:
    alone = BatchRng.of(3)
    together = [rank_of(rank, processes) for rank in range(processes)]
    for _ in range(2):  # the second draw shows that the first left all of them in the same state
        assert torch.equal(interleaved([draw(batch_rng, 4) for batch_rng in together]), draw(alone, 4 * processes))
    assert all(torch.equal(batch_rng.rng.get_state(), alone.rng.get_state()) for batch_rng in together)


def test_one_process_draws_what_torch_draws() -> None:
    torch_rng, batch_rng = torch.Generator().manual_seed(3), BatchRng.of(3)
    assert torch.equal(batch_rng.normal(4, 2), torch.randn(4, 2, generator=torch_rng))
    assert torch.equal(batch_rng.uniform(9), torch.rand(9, generator=torch_rng))
    assert torch.equal(batch_rng.integers(1, 7, 8, 2), torch.randint(1, 7, (8, 2), generator=torch_rng))


@pytest.mark.parametrize("count", [1, 2, 6])
def test_patches_of_two_processes_are_those_of_the_whole_batch(count: int) -> None:
    rng = torch.Generator().manual_seed(0)
    images, donors = torch.rand(2, 2 * count, 3, 16, 16, generator=rng)
    whole = paste_patches(images, donors, BatchRng.of(3))
    parts = [paste_patches(images[rank::2], donors[rank::2], rank_of(rank, 2)) for rank in range(2)]
    for expected, found in zip(whole, zip(*parts, strict=True), strict=True):
        assert torch.equal(interleaved(list(found)), expected)


def test_augmentation_of_two_processes_is_that_of_the_whole_batch() -> None:
    settings = AugmentationSettings(policy=("brightness", "translation", "flip", "cutout"), probability=0.7)
    images = torch.rand(12, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    whole = Augmentation(settings, BatchRng.of(3))(images)
    parts = [Augmentation(settings, rank_of(rank, 2))(images[rank::2]) for rank in range(2)]
    assert torch.equal(interleaved(parts), whole)


def test_a_batch_that_cannot_be_divided_is_refused() -> None:
    assert rank_of(1, 4).share(8) == 2
    with pytest.raises(ConfigError, match="a batch of 6 images cannot be divided evenly among 4 processes"):
        rank_of(1, 4).share(6)


def test_numbers_of_an_image_are_its_own_whatever_is_drawn_beside_it_and_before() -> None:
    several, alone = PerImageRng(5, "BBD", [0, 1, 2]), PerImageRng(5, "D", [2])
    for draw in (lambda rng, n: rng.normal(n, 3), lambda rng, n: rng.uniform(n, dtype=torch.float64),
                 lambda rng, n: rng.integers(0, 1_000, n, 2), lambda rng, n: rng.normal(n, 3)):  # fmt: skip
        three = draw(several, 3)
        assert torch.equal(three[2:], draw(alone, 1))
        assert len({tuple(row.reshape(-1).tolist()) for row in three}) == 3


def test_seed_class_number_and_draw_decide_the_numbers_of_an_image() -> None:
    rng = PerImageRng(5, ["B"], [1])
    first, second = rng.normal(1, 4), rng.normal(1, 4)
    drawn = [first, second] + [
        PerImageRng(*other).normal(1, 4) for other in ((6, ["B"], [1]), (5, ["C"], [1]), (5, ["B"], [2]))
    ]
    assert len({tuple(one[0].tolist()) for one in drawn}) == 5
    assert torch.equal(PerImageRng(5, ["e\u0301"], [1]).normal(1, 4), PerImageRng(5, ["\u00e9"], [1]).normal(1, 4))


def test_images_of_a_class_are_counted_in_order() -> None:
    assert numbers_in_class(["a", "b", "a", "a", "b"]) == [0, 0, 1, 2, 1]
