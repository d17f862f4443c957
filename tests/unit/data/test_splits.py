from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ctfgan.data.splits import covering_prefix, share, stratified_order, whole_groups

LABELS = st.lists(st.integers(0, 6), min_size=1, max_size=80)


@given(labels=LABELS, seed=st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_every_prefix_holds_nearly_its_share_of_every_class(labels: list[int], seed: int) -> None:
    order = stratified_order(np.array(labels), seed).tolist()
    sizes = Counter(labels)
    found: Counter[int] = Counter()
    for length, row in enumerate(order, start=1):
        found[labels[row]] += 1
        for label, size in sizes.items():
            # Each class is rounded to a whole image, and the prefix's length to a whole image per class.
            assert abs(found[label] - length * size / len(labels)) <= 0.5 + 0.5 * len(sizes) * size / len(labels) + 1e-9
    assert sorted(order) == list(range(len(labels)))


@pytest.mark.parametrize(("per_class", "total", "expected"), [(5_000, 32_500, 3_250), (500, 3_250, 325)])
def test_65_percent_of_ten_equal_classes_is_65_percent_of_each(per_class: int, total: int, expected: int) -> None:
    labels = np.random.default_rng(1).permutation(np.arange(10 * per_class) % 10)
    chosen = stratified_order(labels, seed=2)[: share(len(labels), 0.65)]
    assert len(chosen) == total
    assert Counter(labels[chosen].tolist()) == dict.fromkeys(range(10), expected)


def test_an_order_depends_on_its_seed_alone() -> None:
    labels = np.arange(60) % 3
    assert np.array_equal(stratified_order(labels, 5), stratified_order(labels.copy(), 5))
    assert not np.array_equal(stratified_order(labels, 5), stratified_order(labels, 6))


def test_the_images_of_a_class_are_shuffled() -> None:
    order = stratified_order(np.zeros(100, dtype=np.int64), seed=0)
    assert not np.array_equal(order, np.sort(order))


@pytest.mark.parametrize(
    ("count", "fraction", "expected"),
    [
        (50_000, 0.65, 32_500),
        (1_246_991, 0.65, 810_544),
        (1_282_167, 0.65, 833_408),
        (5_000, 0.65, 3_250),
        (10, 0.7, 7),
        (100, 0.29, 29),  # the product is 28.999999999999996
        (7, 1.0, 7),
        (9, 0.1, 0),
    ],
)
def test_a_share_is_rounded_down_to_the_papers_counts(count: int, fraction: float, expected: int) -> None:
    assert share(count, fraction) == expected


@given(labels=LABELS, seed=st.integers(0, 100), count=st.integers(0, 80))
@settings(max_examples=60, deadline=None)
def test_a_covering_prefix_adds_the_first_image_of_each_class_that_is_missing(
    labels: list[int], seed: int, count: int
) -> None:
    order = np.random.default_rng(seed).permutation(len(labels))
    rows = covering_prefix(order, np.array(labels), count).tolist()
    expected = order[:count].tolist()
    for row in order[count:].tolist():
        if labels[row] not in {labels[chosen] for chosen in expected}:
            expected.append(row)
    assert rows == expected


@given(labels=st.lists(st.integers(-1, 9), max_size=200), seed=st.integers(0, 2**32), power=st.integers(1, 4))
@settings(max_examples=100, deadline=None)
def test_the_order_is_that_of_keys_and_random_ties_sorted_by_comparison(
    labels: list[int], seed: int, power: int
) -> None:
    spread = np.sign(labels) * np.abs(np.array(labels, dtype=np.int64)) ** power  # labels without images in between
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(labels)).tolist()
    ties = dict(zip(sorted(set(spread.tolist())), rng.random(len(set(spread.tolist()))), strict=True))
    sizes, met = Counter(spread.tolist()), Counter[int]()
    keyed = []
    for row in shuffled:
        label = int(spread[row])
        keyed.append(((met[label] + 0.5) / sizes[label], ties[label], row))
        met[label] += 1
    assert stratified_order(spread, seed).tolist() == [row for *_, row in sorted(keyed)]


GROUPED = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3), st.integers(0, 30)), min_size=1, max_size=80)


@given(rows=GROUPED, fraction=st.floats(0.01, 0.6), seed=st.integers(0, 2**32))
@settings(max_examples=100, deadline=None)
def test_groups_are_held_out_whole_with_copies_and_leave_every_class_something(
    rows: list[tuple[int, int, int]], fraction: float, seed: int
) -> None:
    groups, labels = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    firsts = np.array([[row[2] for row in rows].index(picture) for _, _, picture in rows])
    held_out = set(whole_groups(groups, labels, firsts, fraction, seed).tolist())
    left = set(range(len(rows))) - held_out
    assert {firsts[row] for row in held_out}.isdisjoint(firsts[row] for row in left)  # no copy is on both sides
    whole = {group for group in groups if all(row in held_out for row in np.flatnonzero(groups == group))}
    assert all(firsts[row] in firsts[np.isin(groups, list(whole))] for row in held_out)  # nothing else is taken
    assert set(labels[list(left)]) == set(labels)


def test_one_group_of_ten_alike_is_held_out_for_a_share_of_a_tenth() -> None:
    groups, labels = np.arange(100) % 10, np.arange(100) // 10
    held_out = whole_groups(groups, labels, np.arange(100), 0.1, seed=3)
    assert len(held_out) == 10
    assert len(set(groups[held_out])) == 1
    others = {int(groups[whole_groups(groups, labels, np.arange(100), 0.1, seed)[0]]) for seed in range(30)}
    assert len(others) > 5


def test_a_group_that_alone_shows_a_class_stays_and_more_are_taken_until_every_class_is_shown() -> None:
    groups = np.array([0, 0, 1, 1, 2, 2, 2, 3, 3, 3])
    labels = np.array([0, 1, 0, 2, 0, 1, 2, 0, 1, 3])  # class 3 has group 3 alone
    held_out = whole_groups(groups, labels, np.arange(10), 0.2, seed=0)
    assert set(groups[held_out]) == {0, 1}
    assert set(labels[held_out]) == {0, 1, 2}
