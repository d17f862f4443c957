from __future__ import annotations

import numpy as np
import pytest
import torch

from ctfgan.data.images import to_bytes
from ctfgan.data.low_quality_bank import UNLABELLED_SHARE, LowQualityBank
from ctfgan.distributed.random_streams import BatchRng

LABELS = np.array([2, 0, 2, 1, 0, 2, 3, 1, 2], dtype=np.int64)
GREYS = np.arange(9, dtype=np.uint8) * 10
IMAGES = np.broadcast_to(GREYS[:, None, None, None], (9, 4, 4, 1)).copy()


def drawn(bank: LowQualityBank, classes: list[int]) -> list[tuple[int, int]]:
    """Number of the drawn image, read off its grey, and its label."""
    images, labels = bank.draw(torch.tensor(classes), BatchRng.of(0))
    assert images.shape == (len(classes), 1, 4, 4)
    numbers = to_bytes(images)[:, 0, 0, 0] // 10
    return list(zip(numbers.tolist(), labels.tolist(), strict=True))


def test_matched_draws_reach_every_image_of_the_class_and_no_other() -> None:
    label_of_class = np.array([1, 2, 0, 3])  # the two sides number their classes differently
    bank = LowQualityBank(IMAGES, LABELS, label_of_class)
    for class_number, label in enumerate(label_of_class):
        expected = {(number, label) for number in range(9) if LABELS[number] == label}
        assert set(drawn(bank, [class_number] * 200)) == expected


def test_matched_draws_follow_the_order_of_the_classes_asked_for() -> None:
    bank = LowQualityBank(IMAGES, LABELS, np.array([0, 1, 2, 3]))
    asked = np.random.default_rng(0).integers(0, 4, 100).tolist()
    assert [label for _, label in drawn(bank, asked)] == asked


def test_a_class_may_be_missing_from_the_asked_ones_though_the_bank_has_more() -> None:
    bank = LowQualityBank(IMAGES, LABELS, np.array([3]))
    assert set(drawn(bank, [0] * 20)) == {(6, 3)}


def test_independent_draws_reach_every_image_whatever_the_class() -> None:
    bank = LowQualityBank(IMAGES, LABELS, None)
    assert set(drawn(bank, [0] * 300)) == set(enumerate(LABELS.tolist()))


def test_draws_are_even() -> None:
    numbers = [number for number, _ in drawn(LowQualityBank(IMAGES, LABELS, None), [0] * 9_000)]
    assert np.bincount(numbers) == pytest.approx(1_000, abs=120)  # four standard deviations


def test_the_same_seed_draws_the_same_images() -> None:
    bank = LowQualityBank(IMAGES, LABELS, None)
    assert drawn(bank, [0] * 30) == drawn(bank, [3] * 30)


def test_a_class_without_images_of_its_own_takes_those_of_any() -> None:
    bank = LowQualityBank(IMAGES, LABELS, np.array([1, -1, 2]))
    assert set(drawn(bank, [1] * 300)) == set(enumerate(LABELS.tolist()))
    assert {label for _, label in drawn(bank, [0] * 50)} == {1}
    rows = bank.choose(torch.tensor([0, 1, 2, 1]), BatchRng.of(0))
    own = bank.are_own(torch.tensor([0, 1, 2, 1]), rows)
    assert own is not None
    assert own.tolist() == [True, False, True, False]


def test_images_without_a_label_are_drawn_for_every_class_and_are_nobodys_own() -> None:
    labels = np.array([-1, 0, 1, -1, 0, 1, -1, 1, 0], dtype=np.int64)
    bank = LowQualityBank(IMAGES, labels, np.array([0, 1]))
    asked = torch.zeros(4_000, dtype=torch.int64)
    rows = bank.choose(asked, BatchRng.of(0))
    counts = np.bincount(rows.numpy(), minlength=9)
    assert set(np.flatnonzero(counts)) == {0, 1, 3, 4, 6, 8}
    assert counts[labels == -1] == pytest.approx(4_000 * UNLABELLED_SHARE / 3, abs=100)
    assert counts[labels == 0] == pytest.approx(4_000 * (1 - UNLABELLED_SHARE) / 3, abs=100)
    own = bank.are_own(asked, rows)
    assert own is not None
    assert own.tolist() == [label == 0 for label in labels[rows.numpy()]]


@pytest.mark.parametrize("label_of_class", [None, np.array([0, 1, 2, 3])])
def test_where_all_images_have_their_class_or_none_needs_it_nothing_is_marked(
    label_of_class: np.ndarray | None,
) -> None:
    bank = LowQualityBank(IMAGES, LABELS, label_of_class)
    assert bank.are_own(torch.tensor([0, 3]), bank.choose(torch.tensor([0, 3]), BatchRng.of(0))) is None
