from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ctfgan.core.errors import DataError
from ctfgan.data.dataset import Dataset, Subset
from ctfgan.data.describe import describe
from ctfgan.data.packed import PackedImages, SourceSummary, open_labels, write_labels
from ctfgan.data.prepare import check_apart, divide, prepare
from ctfgan.data.settings import DataSettings, DegradationSettings, GlyphSettings
from ctfgan.data.splits import digests_of, shared_rows

WriteClasses = Callable[..., Path]


def prepared(high_quality: str | Path, **settings: Any) -> tuple[Dataset, str]:
    """The dataset of some settings, and its description."""
    low = settings.pop("low_quality", None)
    data = DataSettings(high_quality=str(high_quality), low_quality=low, resolution=16, **settings)
    dataset = prepare(data, low_quality=True)
    return dataset, "\n".join(describe(dataset, data))


def write_parts(path: Path, train: list[int], test: list[int]) -> Path:
    """An npz in which image i of both parts is grey level i; labels as given."""
    greys = np.arange(len(train) + len(test), dtype=np.uint8)[:, None, None]
    images = np.broadcast_to(greys, (len(greys), 16, 16))
    count = len(train)
    np.savez(path, x_train=images[:count], y_train=np.array(train), x_test=images[count:], y_test=np.array(test))
    return path


def reference_names(dataset: Dataset) -> list[str]:
    return [dataset.classes[label] for label in dataset.reference.labels]


# The published reference


def test_the_published_test_part_is_the_reference_and_all_training_images_are_the_pool(
    tmp_path: Path, cache: Path
) -> None:
    path = write_parts(tmp_path / "x.npz", [0, 1] * 10, [1, 1, 0, 0, 1, 0])
    dataset, text = prepared(path, reference="published", high_quality_fraction=0.65)
    assert dataset.images(dataset.pool)[:, 0, 0, 0].tolist() == list(range(20))
    assert dataset.reference.images[:, 0, 0, 0].tolist() == list(range(20, 26))
    assert reference_names(dataset) == ["1", "1", "0", "0", "1", "0"]
    assert len(dataset.training) == 13
    assert dataset.has_own_reference
    assert "HQ share: 13 of 20 training images (65.0%); none held out as the reference" in text
    assert f"reference: {path} (test): 6 images" in text
    assert "the published test part, with images of 2 of 2 classes" in text


def test_without_a_reference_all_parts_are_pooled_and_some_are_held_back(tmp_path: Path, cache: Path) -> None:
    path = write_parts(tmp_path / "x.npz", [0, 1] * 10, [0, 1] * 10)
    dataset, text = prepared(path)
    assert len(dataset.pool) == 36
    assert not dataset.has_own_reference
    assert "36 of 36 training images (100.0%); 4 held out as the reference" in text


def packed_labels(folder: Path, labels: np.ndarray[Any, np.dtype[np.int64]], classes: int) -> PackedImages:
    """As many black images as labels, which take no memory."""
    count = len(labels)
    folder.mkdir()
    write_labels(folder, labels, tuple(map(str, range(classes))))
    images = np.broadcast_to(np.zeros((), np.uint8), (count, 16, 16, 1))
    survey = SourceSummary("many", count, (16, 16, 16), {"L": count}, (), ())
    digests = np.arange(count, dtype=np.uint64)  # as if all differed
    return PackedImages(images, digests, *open_labels(folder, count, classes), survey, "crop", "none")


@pytest.mark.parametrize(("count", "high", "low"), [(50_000, 32_500, 10_000), (5_000, 3_250, 1_000)])
def test_with_a_reference_of_its_own_the_papers_counts_hold_exactly(
    tmp_path: Path, count: int, high: int, low: int
) -> None:
    labels = np.random.default_rng(0).permutation(np.arange(count) % 10)
    other = packed_labels(tmp_path / "reference", np.arange(10_000) % 10, 10)
    settings = DataSettings(
        high_quality_fraction=0.65, degradation=DegradationSettings(share=0.2, size=4), reference="published"
    )
    dataset = divide(
        settings, packed_labels(tmp_path / "hq", labels, 10), Subset(other, np.arange(10_000)), low_quality=True
    )
    assert (len(dataset.pool), len(dataset.training), len(dataset.reference)) == (count, high, 10_000)
    assert Counter(dataset.labels(dataset.training).tolist()) == dict.fromkeys(range(10), high // 10)
    side = dataset.low_quality
    assert side is not None
    assert (len(side.bank), side.also_high_quality, side.held_out_seen) == (low, 0, 0)
    assert Counter(side.bank.labels.tolist()) == dict.fromkeys(range(10), low // 10)
    assert len(np.intersect1d(side.originals, dataset.training)) == 0


# A reference from elsewhere


def test_reference_images_are_labelled_by_the_name_of_their_class(
    tmp_path: Path, cache: Path, write_classes: WriteClasses
) -> None:
    high = write_classes(tmp_path / "hq", {"a": 8, "b": 8, "c": 8})
    other = write_classes(tmp_path / "reference", {"b": 3, "c": 2}, size=40, first=100)
    dataset, text = prepared(high, reference=str(other))
    assert reference_names(dataset) == ["b", "b", "b", "c", "c"]
    assert dataset.reference.images[:, 0, 0, 0].tolist() == [100, 101, 102, 103, 104]
    assert len(dataset.pool) == 24
    assert f"reference: {other}: 5 images" in text
    assert "sides: 40 pixels, used at 16, grey" in text
    assert "given images, with images of 2 of 3 classes" in text


def test_a_reference_that_is_among_the_training_images_is_refused(
    tmp_path: Path, cache: Path, write_classes: WriteClasses
) -> None:
    high = write_classes(tmp_path / "hq", {"train/a": 8, "train/b": 8, "test/a": 4, "test/b": 4})
    dataset, _ = prepared(high, reference=str(high / "test"))
    settings = DataSettings(high_quality=str(high), reference=str(high / "test"))
    with pytest.raises(DataError, match=r"8 of the 8 reference images in .*test are among the training images"):
        check_apart(dataset, settings)
    check_apart(dataset, DataSettings(high_quality=str(high)))
    shared = write_classes(tmp_path / "other", {"a": 4, "b": 4}, first=22)  # its first two are the last of the others
    dataset, _ = prepared(high, reference=str(shared))
    with pytest.raises(DataError, match="2 of the 8 reference images"):
        check_apart(dataset, settings)


def test_images_that_agree_in_their_centre_alone_are_not_the_same() -> None:
    rng = np.random.default_rng(0)
    training = rng.integers(0, 256, (10, 16, 16, 1), dtype=np.uint8)
    other = training[:4].copy()
    other[:3, 0, 0] ^= 1
    assert shared_rows(digests_of(other), digests_of(training)).tolist() == [3]


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        (
            {"b": 4, "x": 4, "y": 4},
            r"reference holds classes that the training set .*/hq lacks \('x', 'y'\); use the same",
        ),
        (
            {"a": 3},
            "holds 3 different readable images; it needs at least 4, since one half of it is compared with the other",
        ),
    ],
)
def test_reference_images_that_cannot_be_compared_with_are_refused(
    tmp_path: Path, cache: Path, write_classes: WriteClasses, counts: dict[str, int], message: str
) -> None:
    high = write_classes(tmp_path / "hq", {"a": 8, "b": 8})
    with pytest.raises(DataError, match=message):
        prepared(high, reference=str(write_classes(tmp_path / "reference", counts)))


def test_a_reference_without_labels_is_refused(tmp_path: Path, cache: Path, write_classes: WriteClasses) -> None:
    high = write_classes(tmp_path / "hq", {"a": 8, "b": 8})
    flat = write_classes(tmp_path, {"flat": 8}) / "flat"
    with pytest.raises(DataError, match="images without labels; reference images need one subfolder per class"):
        prepared(high, reference=str(flat))


def test_the_training_images_are_no_reference(tmp_path: Path, cache: Path, write_classes: WriteClasses) -> None:
    high = write_classes(tmp_path / "hq", {"a": 8, "b": 8})
    for same in (str(high), str(high / ".." / "hq")):
        with pytest.raises(DataError, match=r"names the high-quality images .* themselves; use other images"):
            prepared(high, reference=same)


def test_a_published_reference_of_what_publishes_none_is_refused(
    tmp_path: Path, cache: Path, write_classes: WriteClasses
) -> None:
    high = write_classes(tmp_path / "hq", {"a": 8, "b": 8})
    with pytest.raises(DataError, match=r"no published training and test parts; name other images .*data\.reference"):
        prepared(high, reference="published")
    with pytest.raises(DataError, match=r"the embedded glyphs have no published test part; leave data\.reference out"):
        prepare(DataSettings(reference="published"), low_quality=False)


def test_damaged_reference_images_are_skipped_and_said(
    tmp_path: Path, cache: Path, write_classes: WriteClasses
) -> None:
    high = write_classes(tmp_path / "hq", {"a": 8, "b": 8})
    other = write_classes(tmp_path / "reference", {"a": 4, "b": 4}, first=100)
    (other / "b" / "bad.png").write_text("text")
    dataset, text = prepared(high, reference=str(other))
    assert len(dataset.reference) == 8
    assert f"{other}/b/bad.png: not an image" in text
    assert [len(packed) for packed in dataset.packs] == [16, 8]


# Only some classes


def test_only_the_named_classes_of_both_sides_are_used(
    tmp_path: Path, cache: Path, write_classes: WriteClasses
) -> None:
    high = write_classes(tmp_path / "hq", {"a": 8, "b": 8, "c": 8})
    other = write_classes(tmp_path / "reference", {"b": 2, "c": 3, "d": 2}, first=100)
    dataset, _ = prepared(
        high, only=("c", "a"), reference=str(write_classes(tmp_path / "more", {"c": 4, "d": 9}, first=150))
    )
    assert dataset.classes == ("a", "c")
    assert len(dataset.pool) == 16
    assert reference_names(dataset) == ["c"] * 4
    with pytest.raises(DataError, match="holds 3 different readable images"):
        prepared(high, only=("c", "a"), reference=str(other))


def test_a_named_set_keeps_the_characters_that_the_data_have(
    tmp_path: Path, cache: Path, write_classes: WriteClasses
) -> None:
    high = write_classes(tmp_path / "hq", {"啊": 8, "A": 8, "一": 8, "丂": 8})  # the last is not in GB2312
    assert prepared(high, only="gb2312-level-1")[0].classes == ("一", "啊")
    with pytest.raises(DataError, match=r"no images of the classes that data\.only names; leave data\.only out"):
        prepared(high, only="digits")


@pytest.mark.parametrize(
    ("only", "message"),
    [
        ("gb2312-level1", "which is no named set of characters. Did you mean 'gb2312-level-1'?"),
        (("apple", "bananna"), "names the class 'bananna', which .*/hq lacks. Did you mean 'banana'?"),
    ],
)
def test_unknown_classes_are_refused_with_the_nearest_one(
    tmp_path: Path, cache: Path, write_classes: WriteClasses, only: str | tuple[str, ...], message: str
) -> None:
    high = write_classes(tmp_path / "hq", {"apple": 8, "banana": 8})
    with pytest.raises(DataError, match=message.replace("?", r"\?")):
        prepared(high, only=only)


def test_glyphs_may_be_restricted_too(cache: Path) -> None:
    glyphs = GlyphSettings(characters="ABC", images_per_class=8)
    dataset = prepare(DataSettings(resolution=16, glyphs=glyphs, only=("A", "C")), low_quality=False)
    assert dataset.classes == ("A", "C")


# The low-quality side


@pytest.mark.parametrize("given", [False, True])
def test_no_low_quality_image_is_held_out_if_none_is_wanted(
    tmp_path: Path, cache: Path, write_classes: WriteClasses, given: bool
) -> None:
    high = write_classes(tmp_path / "hq", {"a": 20, "b": 20})
    low = str(write_classes(tmp_path / "lq", {"a": 10, "b": 1}, size=8)) if given else None
    dataset, text = prepared(high, low_quality=low, low_quality_held_out=0.0)
    side = dataset.low_quality
    assert side is not None
    assert side.held_out is None
    assert side.banks == (side.bank,)
    assert len(side.bank) == (11 if given else 7)
    assert f"{len(side.bank)} images for training, none held out, 8x8 pixels" in text


def test_all_of_the_pool_may_be_degraded_if_none_is_held_out(
    tmp_path: Path, cache: Path, write_classes: WriteClasses
) -> None:
    high = write_classes(tmp_path / "hq", {"a": 20, "b": 20})
    degradation = DegradationSettings(share=1.0)
    dataset, _ = prepared(high, degradation=degradation, low_quality_held_out=0.0)
    assert dataset.low_quality is not None
    assert len(dataset.low_quality.bank) == len(dataset.pool) == 36


def test_the_low_quality_share_that_is_held_out_has_a_setting_of_its_own(
    tmp_path: Path, cache: Path, write_classes: WriteClasses
) -> None:
    high = write_classes(tmp_path / "hq", {"a": 20, "b": 20})
    low = str(write_classes(tmp_path / "lq", {"a": 20, "b": 20}, size=8))
    for share, expected in ((None, 4), (0.1, 4), (0.5, 20)):
        side = prepared(high, low_quality=low, low_quality_held_out=share)[0].low_quality
        assert side is not None
        assert side.held_out is not None
        assert (len(side.bank), len(side.held_out)) == (40 - expected, expected)


def test_all_parts_of_a_low_quality_set_are_used(tmp_path: Path, cache: Path, write_classes: WriteClasses) -> None:
    high = write_parts(tmp_path / "hq.npz", [0, 1] * 10, [0, 1] * 10)
    low = write_parts(tmp_path / "lq.npz", [0, 1] * 10, [0, 1] * 5)
    dataset, _ = prepared(high, low_quality=str(low), reference="published", low_quality_held_out=0.0)
    assert dataset.low_quality is not None
    assert len(dataset.low_quality.bank) == 30
