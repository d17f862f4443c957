from __future__ import annotations

import numpy as np
import pytest
import torch

from ctfgan.chance import Chance
from ctfgan.data.images import to_bytes
from ctfgan.data.pairing import LowQualityBank, resolve_pairing
from ctfgan.errors import DataError

LABELS = np.array([2, 0, 2, 1, 0, 2, 3, 1, 2], dtype=np.int64)
GREYS = np.arange(9, dtype=np.uint8) * 10
IMAGES = np.broadcast_to(GREYS[:, None, None, None], (9, 4, 4, 1)).copy()


def drawn(bank: LowQualityBank, classes: list[int]) -> list[tuple[int, int]]:
    """Number of the drawn image, read off its grey, and its label."""
    images, labels = bank.draw(torch.tensor(classes), Chance.of(0))
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


AB, BA, ABC, AX, XY = ("a", "b"), ("b", "a"), ("a", "b", "c"), ("a", "x"), ("x", "y")
DIGITS = tuple("0123456789")


@pytest.mark.parametrize(
    ("asked", "classes", "low_quality_classes", "expected"),
    [
        ("auto", AB, BA, "matched"),
        ("auto", AB, ABC, "matched"),
        ("auto", AX, ABC, "independent"),
        ("auto", DIGITS, (*DIGITS, "10", "11"), "independent"),
        ("auto", DIGITS, (*DIGITS, "ten"), "matched"),
        ("auto", DIGITS, DIGITS[::-1], "matched"),
        ("matched", DIGITS, (*DIGITS, "10"), "matched"),
        ("auto", ABC, AB, "independent"),
        ("auto", AB, XY, "independent"),
        ("auto", AB, (), "independent"),
        ("matched", AB, BA, "matched"),
        ("matched", AB, ABC, "matched"),
        ("independent", AB, AB, "independent"),
        ("independent", AB, (), "independent"),
    ],
)
def test_pairing_is_resolved_by_the_class_names(
    asked: str, classes: tuple[str, ...], low_quality_classes: tuple[str, ...], expected: str
) -> None:
    assert resolve_pairing(asked, classes, low_quality_classes) == expected


@pytest.mark.parametrize("low_quality_classes", [AB, XY, ()])
def test_matched_pairing_needs_a_namesake_for_every_class(low_quality_classes: tuple[str, ...]) -> None:
    missing = sorted({"a", "b", "c"} - set(low_quality_classes))
    with pytest.raises(DataError, match=rf"{len(missing)} classes .*first: '{missing[0]}'.*data.pairing=independent"):
        resolve_pairing("matched", ABC, low_quality_classes)
