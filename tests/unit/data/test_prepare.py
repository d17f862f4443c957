from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from ctfgan.core.errors import DataError
from ctfgan.data.batches import BatchStream
from ctfgan.data.dataset import Dataset
from ctfgan.data.describe import describe
from ctfgan.data.low_quality_bank import LowQualityBank
from ctfgan.data.prepare import prepare
from ctfgan.data.settings import DataSettings, DegradationSettings, GlyphSettings
from ctfgan.distributed.random_streams import BatchRng

WriteClasses = Callable[..., Path]
WriteNpz = Callable[..., Path]
CLASSES, PER_CLASS = 5, 40


@pytest.fixture
def npz(tmp_path: Path, cache: Path, write_npz: WriteNpz) -> str:
    """200 images in 5 classes; row i is grey level i, in high and in low quality."""
    return str(write_npz(tmp_path / "hq.npz", CLASSES, PER_CLASS))


def prepared(high_quality: str, low_quality: str | None = None, *, share: float = 0.2, **settings: Any) -> Dataset:
    degradation = DegradationSettings(share=share, size=4)
    data = DataSettings(
        high_quality=high_quality, low_quality=low_quality, resolution=16, degradation=degradation, **settings
    )
    return prepare(data, low_quality=True)


def rows_of(bank: LowQualityBank) -> set[int]:
    """Which images a bank was made of: degradation leaves the grey level of each."""
    assert (bank.images == bank.images[:, :1, :1]).all()
    rows = bank.images[:, 0, 0, 0].astype(int)
    assert np.array_equal(bank.labels, rows % CLASSES)
    assert len(set(rows)) == len(rows)
    return set(rows.tolist())


def sets(dataset: Dataset) -> tuple[set[int], set[int], set[int], set[int], set[int]]:
    """Rows of training, pool, reference, low-quality bank and held-out bank."""
    side = dataset.low_quality
    assert side is not None
    training, pool, reference = (
        set(rows.tolist()) for rows in (dataset.training, dataset.pool, dataset.reference.rows)
    )
    return training, pool, reference, rows_of(side.bank), rows_of(side.held_out)


@pytest.mark.parametrize("seed", [0, 1])
def test_the_reference_is_disjoint_from_everything_that_is_trained_on(npz: str, seed: int) -> None:
    training, pool, reference, bank, held_out = sets(prepared(npz, high_quality_fraction=0.65, seed=seed))
    assert reference | pool == set(range(200))
    assert not reference & pool
    assert training < pool
    assert bank | held_out < pool
    assert (len(reference), len(pool), len(training)) == (20, 180, 117)
    assert Counter(row % CLASSES for row in reference) == dict.fromkeys(range(CLASSES), 4)


def test_a_smaller_share_is_a_part_of_a_larger_one(npz: str) -> None:
    small, middle, large = (sets(prepared(npz, high_quality_fraction=f)) for f in (0.3, 0.65, 1.0))
    assert small[0] < middle[0] < large[0] == large[1]
    assert small[1:3] == middle[1:3] == large[1:3]


@pytest.mark.parametrize("pairing", ["matched", "independent"])
def test_low_quality_images_are_made_of_the_removed_ones_first(npz: str, pairing: str) -> None:
    dataset = prepared(npz, high_quality_fraction=0.65, share=0.2, pairing=pairing)
    training, _, _, bank, held_out = sets(dataset)
    assert len(bank) == 36
    assert not bank & training
    assert not held_out & (bank | training)
    assert "0 of them also in the HQ share" in "\n".join(describe(dataset, DataSettings()))


def test_low_quality_images_overlap_with_the_share_only_as_far_as_they_must(npz: str) -> None:
    dataset = prepared(npz, high_quality_fraction=0.9, share=0.2)
    training, pool, _, bank, held_out = sets(dataset)
    assert pool - training < bank
    assert len(bank & training) == 36 - 18
    assert not bank & held_out
    assert "18 of them also in the HQ share" in "\n".join(describe(dataset, DataSettings()))


def test_every_class_has_low_quality_images_in_both_banks_when_they_are_matched(npz: str) -> None:
    side = prepared(npz, share=0.001, held_out=0.02).low_quality
    assert side is not None
    assert side.pairing == "matched"
    assert sorted(side.bank.labels.tolist()) == sorted(side.held_out.labels.tolist()) == list(range(CLASSES))


def test_given_low_quality_images_are_divided_between_two_disjoint_banks(
    npz: str, tmp_path: Path, write_npz: WriteNpz
) -> None:
    dataset = prepared(npz, str(write_npz(tmp_path / "lq.npz", CLASSES, 20, size=8)), held_out=0.25)
    *_, bank, held_out = sets(dataset)
    assert bank | held_out == set(range(100))
    assert (len(bank), len(held_out)) == (75, 25)
    assert dataset.low_quality_size == 8


def test_foreign_low_quality_images_are_paired_independently(
    npz: str, tmp_path: Path, write_classes: WriteClasses
) -> None:
    side = prepared(npz, str(write_classes(tmp_path / "lq", {"x": 20, "y": 20, "z": 20}, size=8))).low_quality
    assert side is not None
    assert side.pairing == "independent"
    assert side.classes == ("x", "y", "z")
    assert side.bank.label_of_class is None


def test_matched_classes_may_be_numbered_differently_on_the_two_sides(
    tmp_path: Path, cache: Path, write_classes: WriteClasses
) -> None:
    high = write_classes(tmp_path / "hq", {"b": 8, "c": 8}, size=16)
    low = write_classes(tmp_path / "lq", {"a": 8, "b": 8, "c": 8}, size=8)
    side = prepared(str(high), str(low), pairing="matched", lq_only_classes=False).low_quality
    assert side is not None
    assert side.bank.label_of_class is not None
    assert side.bank.label_of_class.tolist() == [1, 2]


def test_low_quality_images_without_labels_are_welcome(tmp_path: Path, npz: str, write_classes: WriteClasses) -> None:
    side = prepared(npz, str(write_classes(tmp_path, {"flat": 10}, size=8) / "flat")).low_quality
    assert side is not None
    assert side.pairing == "independent"
    assert side.classes == ()
    assert set(side.bank.labels.tolist()) == {-1}


@pytest.mark.parametrize(("sizes", "expected"), [([8] * 10, 8), ([2] * 10, None), ([4, 6, 10, 12, 14] * 3, 10)])
def test_the_low_quality_size_is_the_median_side(
    tmp_path: Path, npz: str, sizes: list[int], expected: int | None
) -> None:
    (tmp_path / "lq").mkdir()
    for number, size in enumerate(sizes):
        Image.new("L", (size + 3, size), number).save(tmp_path / "lq" / f"{number}.png")
    if expected is None:
        with pytest.raises(DataError, match="none of 10 images can be read"):
            prepared(npz, str(tmp_path / "lq"))
    else:
        assert prepared(npz, str(tmp_path / "lq")).low_quality_size == expected


def test_colour_is_found_in_the_high_quality_images_and_kept_for_both_sides(tmp_path: Path, cache: Path) -> None:
    rng = np.random.default_rng(0)
    path = tmp_path / "colour.npz"
    np.savez(path, images=rng.integers(0, 256, (20, 16, 16, 3), dtype=np.uint8), labels=np.arange(20) % 2)
    for channels, expected in (("auto", 3), (1, 1)):
        dataset = prepared(str(path), channels=channels)
        assert dataset.low_quality is not None
        assert dataset.channels == dataset.low_quality.bank.images.shape[3] == expected


def test_the_smallest_set_still_leaves_something_to_hold_out(tmp_path: Path, cache: Path, write_npz: WriteNpz) -> None:
    dataset = prepared(str(write_npz(tmp_path / "small.npz", 2, 4)))
    assert dataset.low_quality is not None
    assert len(dataset.reference) >= 4  # evaluation compares its halves
    assert set(dataset.labels(dataset.training)) == {0, 1}
    assert len(dataset.low_quality.held_out) >= 2


def test_nothing_is_degraded_for_a_method_that_uses_no_low_quality_images(npz: str) -> None:
    dataset = prepare(DataSettings(high_quality=npz, resolution=16), low_quality=False)
    assert dataset.low_quality is None
    assert dataset.low_quality_size == 0
    assert describe(dataset, DataSettings())[-1] == "low quality: none (this method uses none)"


def test_glyphs_are_what_is_used_without_a_folder(cache: Path) -> None:
    settings = DataSettings(resolution=16, glyphs=GlyphSettings(characters="AB", images_per_class=10))
    dataset = prepare(settings, low_quality=True)
    assert dataset.classes == ("A", "B")
    assert len(dataset.pool) + len(dataset.reference) == 20
    text = "\n".join(describe(dataset, settings))
    assert "high quality: glyphs (own set): 20 images" in text
    assert "rendered from" in text


@pytest.mark.parametrize("low_quality", [False, True])
def test_bad_images_are_skipped_named_and_counted(
    tmp_path: Path, cache: Path, write_classes: WriteClasses, bad_images: dict[str, bytes], low_quality: bool
) -> None:
    high = write_classes(tmp_path / "hq", {"a": 10, "b": 10}, size=16)
    low = write_classes(tmp_path / "lq", {"a": 10, "b": 10}, size=8)
    for kind, content in bad_images.items():
        (tmp_path / ("lq" if low_quality else "hq") / "b" / f"{kind}.png").write_bytes(content)
    dataset = prepared(str(high), str(low))
    assert len(dataset.pool) + len(dataset.reference) == 20
    assert dataset.low_quality is not None
    assert len(dataset.low_quality.bank) + len(dataset.low_quality.held_out) == 20
    text = "\n".join(describe(dataset, DataSettings()))
    assert "5 unreadable images were skipped:" in text
    for name, reason in (
        ("zero bytes", "zero bytes"),
        ("text", "not an image that Pillow can read"),
        ("truncated", "damaged"),
        ("1x1", "1x1 pixels"),
        ("20000x20000", "more pixels than the 64,000,000"),
    ):
        assert f"b/{name}.png: {reason}" in text


def test_a_long_list_of_bad_images_is_cut_short(tmp_path: Path, cache: Path, write_classes: WriteClasses) -> None:
    root = write_classes(tmp_path / "hq", {"a": 10, "b": 10})
    for number in range(1_234):
        (root / "a" / f"bad{number}.png").touch()
    lines = describe(prepared(str(root)), DataSettings())
    assert "  1,234 unreadable images were skipped:" in lines
    assert sum("zero bytes" in line for line in lines) == 10
    assert "    ... and 1,224 more" in lines


def test_classes_with_few_images_for_training_are_named_smallest_first(
    tmp_path: Path, cache: Path, write_classes: WriteClasses
) -> None:
    root = write_classes(tmp_path / "hq", {"a": 60, "b": 8, "c": 60, "d": 12})
    (note,) = [line for line in describe(prepared(str(root)), DataSettings()) if "learned poorly" in line]
    assert note.startswith(
        "  note: 2 classes with 1 to 19 different images; they may be learned poorly and lose their variety"
    )
    assert "augmentation.policy" in note
    assert note.endswith("(b: 7, d: 11)"), "a tenth is held out"
    write_classes(tmp_path / "large", {"a": 30, "b": 30})
    assert not any("learned poorly" in line for line in describe(prepared(str(tmp_path / "large")), DataSettings()))


def test_the_description_says_all_that_a_user_should_check(
    tmp_path: Path, cache: Path, write_classes: WriteClasses
) -> None:
    high = write_classes(tmp_path / "hq", {"a": 20, "b": 10}, size=20)
    (high / "notes.txt").write_text("no image")
    low = write_classes(tmp_path / "lq", {"a": 10, "b": 10}, size=8)
    settings = DataSettings(high_quality=str(high), low_quality=str(low), resolution=16, high_quality_fraction=0.5)
    text = "\n".join(describe(prepare(settings, low_quality=True), settings))
    for fact in (
        f"high quality: {high}: 30 images",
        "sides: 20 pixels, used at 16, grey",
        "modes: 30 L",
        "1 file that is no image was ignored (1 .txt)",
        "classes: 2, 10 to 20 (median 15) images each: a 20, b 10",
        "HQ share: 13 of 26 training images (50.0%); 4 held out as the reference",
        f"low quality: {low}: 20 images",
        "sides: 8 pixels, used at 8, grey",
        "18 images for training, 2 held out, 8x8 pixels, 2 labels",
        "pairing: matched (auto: both sides have the same class names)",
    ):
        assert fact in text


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"held_out": 0.99}, r"data.held_out\) of 0.99 leaves class '\d' without training images; use a smaller share"),
        ({"high_quality_fraction": 0.02}, "fraction of 0.02 leaves class '.' without training images; use a larger"),
        ({"share": 1.0}, "data.degradation.share is 1.0 and leaves no image to hold out; use a smaller share"),
        ({"share": 1.0, "pairing": "independent"}, "leaves no image to hold out"),
    ],
)
def test_shares_that_leave_nothing_are_refused(npz: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        prepared(npz, **settings)


@pytest.mark.parametrize(
    ("low_quality", "settings", "message"),
    [
        ({"a": 10, "b": 10}, {"low_quality_size": 32}, "data.low_quality_size is 32; it must not exceed .* 16 pixels"),
        (
            {"x": 10, "y": 10},
            {"pairing": "matched"},
            r"none of 2 classes .*, such as 'a', 'b' and 'x', 'y'; .*=independent",
        ),
        ({"x": 3}, {}, "holds 3 readable images; the low-quality side needs 4"),
    ],
)
def test_low_quality_sides_that_do_not_fit_are_refused(
    tmp_path: Path, cache: Path, write_classes: WriteClasses, low_quality: dict[str, int], settings: dict[str, Any],
    message: str,
) -> None:  # fmt: skip
    high = write_classes(tmp_path / "hq", {"a": 10, "b": 10}, size=16)
    low = write_classes(tmp_path / "lq", low_quality, size=8)
    with pytest.raises(DataError, match=message):
        prepared(str(high), str(low), **settings)


def test_a_degraded_size_above_the_resolution_is_refused(npz: str) -> None:
    settings = DataSettings(high_quality=npz, resolution=16, degradation=DegradationSettings(size=32))
    with pytest.raises(DataError, match=r"data\.degradation\.size is 32; it must not exceed the resolution of 16"):
        prepare(settings, low_quality=True)


def test_larger_low_quality_images_are_taken_when_a_size_is_given(
    npz: str, tmp_path: Path, write_npz: WriteNpz
) -> None:
    large = str(write_npz(tmp_path / "lq.npz", CLASSES, 20, size=64))
    with pytest.raises(DataError, match=r"\(64 pixels\) are larger than .* \(16\); swap --hq and --lq"):
        prepared(npz, large)
    assert prepared(npz, large, low_quality_size=8).low_quality_size == 8


def test_the_held_out_bank_is_made_of_images_that_the_gan_never_sees_while_there_are_any(npz: str) -> None:
    for fraction, lq_share, seen in ((0.5, 0.2, False), (0.65, 0.2, False), (1.0, 0.2, True)):
        settings = DataSettings(
            high_quality=npz,
            resolution=16,
            high_quality_fraction=fraction,
            degradation=DegradationSettings(share=lq_share, size=16),
        )
        dataset = prepare(settings, low_quality=True)
        side = dataset.low_quality
        assert side is not None
        shown = {int(image[0, 0, 0]) for image in dataset.images(dataset.training)}
        held_out = [int(image[0, 0, 0]) in shown for image in side.held_out.images]
        assert any(held_out) == seen
        assert sum(held_out) == side.held_out_seen
        assert ("copies of images in the HQ share, because" in "\n".join(describe(dataset, settings))) == seen


ANIMALS = ("ant", "bee", "cat", "dog", "eel", "fox", "gnu", "hen")


def described(high: Path, low: Path | None, **settings: Any) -> tuple[Dataset, str]:
    place = str(high), None if low is None else str(low)
    dataset = prepared(*place, **settings)
    return dataset, "\n".join(describe(dataset, DataSettings(high_quality=place[0], low_quality=place[1], **settings)))


def test_a_stray_folder_of_cheap_images_changes_nothing_but_is_named(
    tmp_path: Path, cache: Path, write_classes: WriteClasses
) -> None:
    high = write_classes(tmp_path / "hq", dict.fromkeys(ANIMALS, 8))
    low = write_classes(tmp_path / "lq", dict.fromkeys(ANIMALS, 8) | {"unsorted": 6}, size=8)
    dataset, text = described(high, low)
    side = dataset.low_quality
    assert side is not None
    assert side.pairing == "matched"
    assert dataset.classes == ANIMALS
    assert "note: low-quality images of 1 class ('unsorted') count as images without a label" in text
    assert (side.bank.labels == -1).sum() + (side.held_out.labels == -1).sum() == 6  # type: ignore[union-attr]
    assert len(side.bank) + len(side.held_out) == 70  # type: ignore[arg-type]


def test_a_class_without_cheap_images_is_named_and_borrows_some(
    tmp_path: Path, cache: Path, write_classes: WriteClasses
) -> None:
    high = write_classes(tmp_path / "hq", dict.fromkeys(ANIMALS, 8))
    low = write_classes(tmp_path / "lq", dict.fromkeys(ANIMALS[1:], 8), size=8, first=100)
    dataset, text = described(high, low)
    side = dataset.low_quality
    assert side is not None
    assert side.pairing == "matched"
    assert side.bank.label_of_class is not None
    assert side.bank.label_of_class.tolist() == [-1, *range(7)]
    assert "no low-quality images of 1 class ('ant'); those of any class take their place" in text
    batch = next(BatchStream(dataset, 256, 0, BatchRng.of(0)))
    assert batch.are_own is not None
    assert batch.are_own.tolist() == (batch.fake_labels > 0).tolist()


def test_a_class_with_a_single_cheap_image_trains_with_it_and_borrows_where_images_are_held_out(
    tmp_path: Path, cache: Path, write_classes: WriteClasses
) -> None:
    high = write_classes(tmp_path / "hq", dict.fromkeys(ANIMALS, 8))
    low = write_classes(tmp_path / "lq", dict.fromkeys(ANIMALS[1:], 8) | {"ant": 1}, size=8)
    dataset, text = described(high, low)
    side = dataset.low_quality
    assert side is not None
    assert side.held_out is not None
    assert side.bank.label_of_class is not None
    assert side.held_out.label_of_class is not None
    assert side.bank.label_of_class.min() == 0
    assert side.held_out.label_of_class.tolist() == [-1, *range(1, 8)]
    assert "no low-quality image to hold out of 1 class ('ant')" in text


@pytest.mark.parametrize(("small", "fewest"), [({"ant": 3, "bee": 1}, 4), ({"ant": 7}, 8)])
def test_classes_too_small_to_train_on_are_left_out_by_name(
    tmp_path: Path, cache: Path, write_classes: WriteClasses, small: dict[str, int], fewest: int
) -> None:
    high = write_classes(tmp_path / "hq", dict.fromkeys(ANIMALS, 8) | small)
    dataset, text = described(high, None, smallest_class=fewest)
    assert dataset.classes == tuple(name for name in ANIMALS if name not in small)
    few = ", ".join(f"'{name}': {count}" for name, count in small.items())
    many = f"{len(small)} of 8 classes with fewer than {fewest} images that can be read ({few}) are left out"
    assert f"{many} (data.smallest_class={fewest})" in text
    names = np.array(dataset.classes)[dataset.labels(np.arange(len(dataset.high_quality)))]
    assert Counter(names.tolist()) == dict.fromkeys(dataset.classes, 8)


def test_a_class_that_broken_files_make_too_small_is_left_out_too(
    tmp_path: Path, cache: Path, write_classes: WriteClasses
) -> None:
    high = write_classes(tmp_path / "hq", dict.fromkeys(ANIMALS, 5))
    for number in (0, 1):
        file = high / "cat" / f"{number}.png"
        file.write_bytes(file.read_bytes()[:-30])  # its header can be read
    dataset, text = described(high, None)
    assert "cat" not in dataset.classes
    assert len(dataset.high_quality) == 35
    assert "1 of 8 classes with fewer than 4 images that can be read ('cat': 3) are left out" in text


def test_reference_images_of_classes_that_are_left_out_are_left_out(
    tmp_path: Path, cache: Path, write_classes: WriteClasses
) -> None:
    high = write_classes(tmp_path / "hq", dict.fromkeys(ANIMALS, 8) | {"bee": 2})
    reference = write_classes(tmp_path / "reference", dict.fromkeys(ANIMALS, 2), first=100)
    dataset = prepared(str(high), reference=str(reference))
    assert len(dataset.reference) == 14
    names = [dataset.classes[label] for label in dataset.reference.labels.tolist()]
    assert Counter(names) == {name: 2 for name in ANIMALS if name != "bee"}


def test_fewer_than_two_classes_that_are_large_enough_are_refused(
    tmp_path: Path, cache: Path, write_classes: WriteClasses
) -> None:
    high = write_classes(tmp_path / "hq", {"ant": 8, "bee": 3, "cat": 2})
    few = r"2 of 3 classes with fewer than 4 images that can be read \('bee': 3, 'cat': 2\), .* 2 classes of 4; add"
    with pytest.raises(DataError, match=few):
        prepared(str(high))


@pytest.mark.parametrize("place", ["", "  "])
@pytest.mark.parametrize("name", ["high_quality", "low_quality", "reference"])
def test_an_empty_place_is_not_the_present_folder(name: str, place: str) -> None:
    with pytest.raises(ValidationError, match="it must name images"):
        DataSettings(**{name: place})  # type: ignore[arg-type]


def test_low_quality_images_that_are_the_high_quality_ones_are_told_of(
    tmp_path: Path, cache: Path, write_classes: WriteClasses
) -> None:
    good = write_classes(tmp_path / "good", {"a": 6, "b": 6})
    copies = write_classes(tmp_path / "copies", {"a": 6, "b": 6})
    said = {
        low: "\n".join(describe(prepared(str(good), str(low)), DataSettings())) for low in (good, copies, good / "a")
    }
    assert f"note: the low-quality images are the high-quality ones in {good} themselves" in said[good]
    assert "note: 12 low-quality images with exactly the pixels of a high-quality one" in said[copies]
    assert f"note: {good / 'a'} lies in {good}, so that its images count as high-quality ones, too" in said[good / "a"]


def test_folders_of_folders_are_told_of_with_the_setting_on_both_sides(
    tmp_path: Path, cache: Path, write_classes: WriteClasses
) -> None:
    years = write_classes(tmp_path / "good", {"a/2020": 5, "a/2021": 5, "b/2020": 5})
    dataset = prepared(str(years), str(write_classes(tmp_path / "cheap", {"a/1": 4, "b/2": 4}, 8, 100)))
    lines = [line for line in describe(dataset, DataSettings()) if "folders of folders" in line]
    assert len(lines) == 2
    assert all("are the classes, use data.class_level=1" in line for line in lines)
