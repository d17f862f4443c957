"""Copies of an image stay on one side of every split; where there are none, all is divided as it was before."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import ctfgan.data.pack
from ctfgan.core.errors import DataError
from ctfgan.data.dataset import Dataset
from ctfgan.data.describe import describe
from ctfgan.data.inspection import inspect
from ctfgan.data.packed import PackedImages, SourceSummary, open_labels, write_labels
from ctfgan.data.prepare import divide, prepare
from ctfgan.data.settings import DataSettings, DegradationSettings
from ctfgan.data.sources.registry import open_source
from ctfgan.data.splits import digests_of, first_rows, shared_rows
from ctfgan.metrics.memorization import check_memorization

WriteNpz = Callable[..., Path]
Images = NDArray[np.uint8]
AS_THEY_ARE = 16  # a degraded image of this side has the pixels of its original


def pictures(numbers: list[int] | NDArray[np.int64]) -> Images:
    """A 16x16 image for each number; equal numbers have equal pixels."""
    drawn = [np.random.default_rng(number).integers(0, 256, (16, 16, 1), dtype=np.uint8) for number in numbers]
    return np.array(drawn, dtype=np.uint8).reshape(-1, 16, 16, 1)


def packed_images(images: Images, labels: list[int]) -> PackedImages:
    with tempfile.TemporaryDirectory() as name:
        folder, classes = Path(name), max(labels) + 1
        write_labels(folder, np.array(labels), tuple(map(str, range(classes))))
        survey = SourceSummary("some", len(images), (16, 16, 16), {"L": len(images)}, (), ())
        labels_and_names = open_labels(folder, len(images), classes)
        return PackedImages(images, digests_of(images), *labels_and_names, survey, "crop", "none")


def contents(images: Any) -> set[bytes]:
    return {image.tobytes() for image in images}


def write_copies(path: Path, different: int, times: int, classes: int, first: int = 0) -> Path:
    """An npz of pictures, each several times."""
    numbers = np.repeat(np.arange(first, first + different), times)
    np.savez(path, images=pictures(numbers)[..., 0], labels=numbers % classes)
    return path


def prepared(high_quality: Path, **choices: Any) -> tuple[Dataset, str]:
    choices = {"degradation": DegradationSettings(size=AS_THEY_ARE)} | choices
    data = DataSettings(high_quality=str(high_quality), resolution=16, **choices)
    dataset = prepare(data, low_quality=True)
    return dataset, "\n".join(describe(dataset, data))


@given(
    images=st.lists(st.tuples(st.integers(0, 15), st.integers(0, 2)), min_size=12, max_size=60),
    fractions=st.tuples(st.floats(0.1, 1), st.floats(0.1, 1)),
    held_out=st.floats(0.05, 0.5),
    share=st.floats(0.05, 0.6),
    pairing=st.sampled_from(["matched", "independent"]),
    seed=st.integers(0, 1_000),
)
@settings(max_examples=100, deadline=None)
def test_no_picture_is_on_both_sides_of_a_split(
    images: list[tuple[int, int]],
    fractions: tuple[float, float],
    held_out: float,
    share: float,
    pairing: str,
    seed: int,
) -> None:
    packed = packed_images(pictures([number for number, _ in images]), [label for _, label in images])
    trained: list[set[int]] = []
    for fraction in sorted(fractions):
        choices = DataSettings(
            high_quality_fraction=fraction, held_out=held_out, pairing=pairing, seed=seed, resolution=16,
            degradation=DegradationSettings(share=share, size=AS_THEY_ARE),
        )  # fmt: skip
        try:
            dataset = divide(choices, packed, None, low_quality=True)
        except DataError:
            continue  # too few different pictures of some class
        side, rows = dataset.low_quality, set(range(len(packed)))
        assert side is not None
        assert side.held_out is not None
        training, pool = set(dataset.training.tolist()), set(dataset.pool.tolist())
        reference = contents(dataset.reference.images)
        assert set(dataset.reference.rows.tolist()) == rows - pool
        assert training <= pool
        assert reference.isdisjoint(contents(packed.images[dataset.pool]))
        left_out = contents(packed.images[sorted(pool - training)])
        seen = contents(packed.images[dataset.training])
        assert seen.isdisjoint(left_out)
        degraded, unseen = contents(side.bank.images), contents(side.held_out.images)
        assert degraded.isdisjoint(unseen)
        assert reference.isdisjoint(degraded | unseen)
        assert side.held_out_seen == sum(image.tobytes() in seen for image in side.held_out.images)
        assert side.also_high_quality == sum(image.tobytes() in seen for image in side.bank.images)
        if pairing == "independent" and left_out - degraded:
            assert side.held_out_seen == 0
        assert len(dataset.reference) >= 4
        assert set(dataset.labels(dataset.training)) == set(range(len(packed.names)))
        trained.append(training)
    assert len(trained) < 2 or trained[0] <= trained[1]


def test_a_share_is_exceeded_by_less_than_the_copies_of_one_picture_and_is_spread_over_the_classes() -> None:
    numbers = np.repeat(np.arange(400), 4)
    labels = (numbers % 4).tolist()
    dataset = divide(DataSettings(high_quality_fraction=0.65), packed_images(pictures(numbers), labels), None,
                     low_quality=False)  # fmt: skip
    assert len(dataset.reference) == 160
    assert 936 <= len(dataset.training) < 940
    counts = np.bincount(dataset.labels(dataset.training))
    assert counts.max() - counts.min() <= 4


def test_an_image_of_two_classes_is_on_one_side() -> None:
    numbers = [*range(40), *range(10)]
    labels = [number % 2 for number in range(40)] + [(number + 1) % 2 for number in range(10)]
    packed = packed_images(pictures(numbers), labels)
    assert packed.copies == 10
    for seed in range(20):
        dataset = divide(DataSettings(seed=seed, held_out=0.3), packed, None, low_quality=False)
        assert contents(dataset.reference.images).isdisjoint(contents(dataset.images(dataset.pool)))


def test_low_quality_images_of_their_own_are_divided_the_same_way(
    tmp_path: Path, cache: Path, write_npz: WriteNpz
) -> None:
    high = write_npz(tmp_path / "hq.npz", 3, 10)
    low = write_copies(tmp_path / "lq.npz", 9, 4, 3)
    for pairing in ("matched", "independent"):
        dataset, text = prepared(high, low_quality=str(low), low_quality_held_out=0.3, pairing=pairing)
        side = dataset.low_quality
        assert side is not None
        assert side.held_out is not None
        assert contents(side.bank.images).isdisjoint(contents(side.held_out.images))
        assert len(side.bank) + len(side.held_out) == 36
        assert text.count("27 of 36 images are copies of others; copies stay on one side of every split") == 1


def test_copies_are_counted_before_training_as_by_the_check(tmp_path: Path, cache: Path, write_npz: WriteNpz) -> None:
    path = write_copies(tmp_path / "four.npz", 24, 4, 3)
    _, text = prepared(path)
    assert "\n  72 of 96 images are copies of others; copies stay on one side of every split\n" in text
    found = [finding.summary for finding in inspect(open_source(str(path))).findings if finding.topic == "duplicates"]
    assert found == [
        "72 images are exact copies of another one of the same class; training keeps copies on one side of every split"
    ]
    _, text = prepared(write_npz(tmp_path / "different.npz", 3, 12))
    assert "are copies of" not in text


def test_a_published_test_part_may_share_images_which_are_counted(tmp_path: Path, cache: Path) -> None:
    for shared in (0, 3):
        train, test = pictures(list(range(40)))[..., 0], pictures(list(range(40 - shared, 60 - shared)))[..., 0]
        path = tmp_path / f"{shared}.npz"
        np.savez(path, x_train=train, y_train=np.arange(40) % 2, x_test=test, y_test=np.arange(20) % 2)
        _, text = prepared(path, reference="published")
        assert ("note: 3 of 20 test images are copies of training images" in text) == (shared > 0)
        assert ("copies of training images" in text) == (shared > 0)


def test_classes_of_one_picture_that_cannot_be_divided_are_refused(
    tmp_path: Path, cache: Path, write_npz: WriteNpz
) -> None:
    numbers = [*range(8), *[8] * 8]
    images, labels = pictures(numbers)[..., 0], [0] * 8 + [1] * 8
    np.savez(tmp_path / "one.npz", images=images, labels=labels)
    together = r"copies stay on one side of every split"
    few = rf"\(its 8 images show only 1 picture, and {together}\); "
    with pytest.raises(DataError, match=rf"of 0\.7 leaves class '1' without training images {few}use a smaller share"):
        prepared(tmp_path / "one.npz", held_out=0.7)
    high = write_npz(tmp_path / "hq.npz", 2, 10)
    side = prepared(high, low_quality=str(tmp_path / "one.npz"))[0].low_quality
    assert side is not None
    assert side.bank.label_of_class is not None
    assert side.held_out is not None
    assert side.held_out.label_of_class is not None
    assert side.bank.label_of_class.tolist() == [0, 1]  # its only picture is for training
    assert side.held_out.label_of_class.tolist() == [0, -1]
    np.savez(tmp_path / "same.npz", images=images[8:], labels=labels[8:])
    lost = rf"no image of .*same\.npz to train on, since {together} and 7 of its 8 images are copies; add .*held_out=0"
    with pytest.raises(DataError, match=lost):
        prepared(high, low_quality=str(tmp_path / "same.npz"), pairing="independent")
    assert prepared(high, low_quality=str(tmp_path / "same.npz"), pairing="independent", low_quality_held_out=0)


def test_images_that_all_differ_are_divided_as_they_always_were(
    tmp_path: Path, cache: Path, write_npz: WriteNpz
) -> None:
    """The hash was made before the program knew of copies."""
    high, low = write_npz(tmp_path / "hq.npz", 7, 36), write_npz(tmp_path / "lq.npz", 7, 20)
    found = hashlib.sha256()
    for choices in ({}, {"low_quality": str(low)}, {"low_quality": str(low), "pairing": "independent"}):
        for fraction, seed in ((0.65, 0), (0.3, 1), (1.0, 2)):
            dataset, _ = prepared(high, high_quality_fraction=fraction, seed=seed, held_out=0.13, **choices)
            side = dataset.low_quality
            assert side is not None
            banks = [bank.images[:, 0, 0, 0].astype(np.int64) for bank in side.banks]
            for rows in (dataset.training, dataset.pool, dataset.reference.rows, *banks):
                found.update(np.ascontiguousarray(rows, dtype="<i8").tobytes() + b"|")
    assert found.hexdigest() == "e1d9851ad3c4a124b03253e166e7d2a92b32aef5f29282e10d870fddbffb8369"


def test_pixels_are_looked_at_while_packing_and_not_at_each_start(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_copies(tmp_path / "four.npz", 24, 4, 3)
    first, _ = prepared(path)
    monkeypatch.setattr(ctfgan.data.pack, "digest", lambda image: pytest.fail("an image was hashed"))
    again, _ = prepared(path)
    assert isinstance(again.high_quality.digests, np.memmap)
    assert again.training.tolist() == first.training.tolist()


@given(st.lists(st.integers(0, 5), max_size=30), st.lists(st.integers(3, 9), max_size=30))
def test_the_first_copy_and_the_shared_images_are_those_a_search_finds(values: list[int], others: list[int]) -> None:
    digests, more = np.array(values, dtype=np.uint64), np.array(others, dtype=np.uint64)
    assert first_rows(digests).tolist() == [values.index(value) for value in values]
    assert shared_rows(digests, more).tolist() == [row for row, value in enumerate(values) if value in others]


def test_the_search_for_copies_among_samples_is_not_blinded_by_copies_among_the_data(
    tmp_path: Path, cache: Path
) -> None:
    dataset, _ = prepared(write_copies(tmp_path / "four.npz", 400, 4, 4), held_out=0.3)
    training, fresh = dataset.images(dataset.training), pictures(np.arange(1_000, 1_300))
    assert check_memorization(training, dataset.reference.images, [training]).closer_than_real == 1
    assert check_memorization(fresh, dataset.reference.images, [training]).closer_than_real < 0.1
