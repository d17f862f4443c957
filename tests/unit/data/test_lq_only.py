"""Classes without a good image: they take part as conditions, and the real images are those of the other classes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ctfgan
from ctfgan.bundle.bundle import bank_for_bundle
from ctfgan.core.errors import DataError
from ctfgan.data.batches import BatchStream
from ctfgan.data.dataset import Dataset
from ctfgan.data.describe import describe
from ctfgan.data.images import to_bytes
from ctfgan.data.prepare import prepare
from ctfgan.data.settings import DataSettings, DegradationSettings
from ctfgan.distributed.random_streams import BatchRng
from ctfgan.runs.context import Callbacks, open_context

WriteClasses = Callable[..., Path]
HIGH, LOW = ("b", "c", "e", "f"), ("a", "b", "c", "d", "e", "f")


@pytest.fixture
def folders(tmp_path: Path, cache: Path, write_classes: WriteClasses) -> DataSettings:
    """4 classes in high quality, greys 0 ... 39; 6 in low quality, greys 100 ... 159, ten of each in order."""
    high = write_classes(tmp_path / "hq", dict.fromkeys(HIGH, 10))
    low = write_classes(tmp_path / "lq", dict.fromkeys(LOW, 10), size=8, first=100)
    return DataSettings(high_quality=str(high), low_quality=str(low), resolution=16)


@pytest.fixture
def npz(tmp_path: Path, cache: Path, write_npz: Callable[..., Path]) -> DataSettings:
    """10 classes of 20 images; image i is grey level i all over and of class i mod 10."""
    path = str(write_npz(tmp_path / "hq.npz", 10, 20))
    return DataSettings(high_quality=path, resolution=16, degradation=DegradationSettings(size=4))


def prepared(settings: DataSettings, **changes: Any) -> Dataset:
    return prepare(settings.model_copy(update=changes), low_quality=True)


def said(dataset: Dataset, settings: DataSettings, **changes: Any) -> str:
    return "\n".join(describe(dataset, settings.model_copy(update=changes)))


def test_classes_with_low_quality_images_only_follow_the_others_under_their_own_names(folders: DataSettings) -> None:
    dataset = prepared(folders)
    assert dataset.low_quality is not None
    assert dataset.low_quality.pairing == "matched"
    assert dataset.classes == tuple(dataset.names) == (*HIGH, "a", "d")
    assert dataset.num_classes == 6
    assert dataset.lq_only.tolist() == [4, 5]
    assert dataset.lq_only.dtype == np.int64
    text = said(dataset, folders)
    assert "2 of 6 classes have low-quality images only and take part as conditions" in text
    assert "low-quality images only of 2 classes ('a', 'd')" in text
    assert "pairing: matched (auto: every class of the high-quality images is one of the low-quality ones, too)" in text


def test_batches_ask_for_every_class_and_show_real_images_of_those_that_have_some(folders: DataSettings) -> None:
    batches = BatchStream(prepared(folders), 32, 0, BatchRng.of(0))
    asked = []
    for _ in range(20):
        batch = next(batches)
        assert batch.low_quality is not None
        asked += batch.fake_labels.tolist()
        assert set(batch.real_labels.tolist()) <= {0, 1, 2, 3}
        greys = (to_bytes(batch.low_quality)[:, 0, 0, 0].astype(int) - 100) // 10
        names = (*HIGH, "a", "d")
        assert [LOW[grey] for grey in greys] == [names[label] for label in batch.fake_labels.tolist()]
    assert np.bincount(asked, minlength=6) == pytest.approx(640 / 6, abs=40)  # four standard deviations


def test_a_bundle_keeps_a_low_quality_image_of_every_class(folders: DataSettings) -> None:
    side = prepared(folders).low_quality
    assert side is not None
    kept = bank_for_bundle(side.bank, seed=0)
    _, labels = kept.draw(torch.arange(6), BatchRng.of(0))
    assert [side.names[label] for label in labels.tolist()] == [*HIGH, "a", "d"]


def test_only_classes_with_real_images_are_measured(folders: DataSettings) -> None:
    found = prepared(folders).evaluated_classes
    assert found.names == HIGH
    assert not found.is_part
    assert found.lq_only.tolist() == []


@pytest.mark.parametrize(
    ("changes", "pairing"), [({"pairing": "independent"}, "independent"), ({"lq_only_classes": False}, "matched")]
)
def test_they_are_left_out_where_that_is_asked_for(
    folders: DataSettings, changes: dict[str, Any], pairing: str
) -> None:
    dataset = prepared(folders, **changes)
    assert dataset.low_quality is not None
    assert dataset.low_quality.pairing == pairing
    assert dataset.classes == HIGH
    assert dataset.lq_only.tolist() == []
    assert "take part" not in said(dataset, folders, **changes)


def test_where_names_agree_in_part_only_they_are_left_out_unless_wanted(
    folders: DataSettings, write_classes: WriteClasses, tmp_path: Path
) -> None:
    assert folders.high_quality is not None
    write_classes(Path(folders.high_quality), {"z": 10}, first=60)
    dataset = prepared(folders)
    assert dataset.classes == (*HIGH, "z")
    assert dataset.low_quality is not None
    assert dataset.low_quality.pairing == "matched"
    text = said(dataset, folders)
    assert "2 classes ('a', 'd') of low-quality images only are left out (--set data.lq_only_classes=true" in text
    wanted = prepared(folders, lq_only_classes=True)
    assert wanted.classes == (*HIGH, "z", "a", "d")


def test_classes_that_data_only_took_out_do_not_come_back_by_their_low_quality_images(folders: DataSettings) -> None:
    dataset = prepared(folders, only=HIGH[:2])
    assert dataset.classes == HIGH[:2]
    assert dataset.low_quality is not None
    assert dataset.low_quality.pairing == "matched"
    assert dataset.lq_only.tolist() == []


def test_a_class_whose_only_picture_is_held_out_is_left_out_and_named(
    folders: DataSettings, write_classes: WriteClasses
) -> None:
    assert folders.low_quality is not None
    write_classes(Path(folders.low_quality), {"g": 1, "h": 2}, size=8, first=200)
    dataset = prepared(folders)
    assert dataset.classes == (*HIGH, "a", "d", "h")
    assert "note: 1 class ('g') of low-quality images cannot take part" in said(dataset, folders)
    assert prepared(folders, low_quality_held_out=0).classes == (*HIGH, "a", "d", "g", "h")


def test_numbers_for_names_are_not_taken_for_the_same_classes_unless_told(
    tmp_path: Path, npz: DataSettings, write_npz: Callable[..., Path]
) -> None:
    settings = npz.model_copy(update={"low_quality": str(write_npz(tmp_path / "lq.npz", 12, 10, size=8))})
    dataset = prepared(settings)
    assert dataset.low_quality is not None
    assert dataset.low_quality.pairing == "independent"
    assert dataset.num_classes == 10
    assert "all names are numbers; if they mean the same, use data.pairing=matched" in said(dataset, settings)
    assert prepared(settings, pairing="matched").classes == tuple(map(str, range(12)))


@pytest.mark.parametrize("fraction", [1.0, 0.5])
def test_withheld_classes_are_in_pool_and_reference_and_never_in_training(npz: DataSettings, fraction: float) -> None:
    before, dataset = (prepared(npz, high_quality_fraction=fraction, without_hq=count) for count in (0, 3))
    withheld = dataset.lq_only.tolist()
    assert len(withheld) == 3
    assert np.array_equal(before.pool, dataset.pool)
    assert np.array_equal(before.reference.rows, dataset.reference.rows)
    assert dataset.training.tolist() == [row for row in before.training.tolist() if row % 10 not in withheld]
    assert {row % 10 for row in dataset.pool.tolist()} == set(range(10))
    side = dataset.low_quality
    assert side is not None
    assert set(side.bank.labels.tolist()) == set(range(10))
    assert dataset.num_classes == 10
    assert dataset.evaluated_classes.lq_only.tolist() == withheld
    text = said(dataset, npz)
    assert "3 of 10 classes have low-quality images only and take part as conditions" in text
    assert "3 classes without high-quality images for the GAN (data.without_hq)" in text


def test_withheld_classes_are_drawn_by_the_seed_and_nested(npz: DataSettings) -> None:
    found = {seed: set(prepared(npz, seed=seed, without_hq=4).lq_only.tolist()) for seed in range(6)}
    assert len(set(map(frozenset, found.values()))) > 1
    assert set(prepared(npz, seed=0, without_hq=2).lq_only.tolist()) < found[0]


def test_a_picture_of_a_withheld_class_is_not_seen_under_another_label(tmp_path: Path, cache: Path) -> None:
    def dataset(name: str, greys: np.ndarray) -> Dataset:
        images = np.broadcast_to(greys[:, None, None], (80, 16, 16)).astype(np.uint8)
        np.savez(tmp_path / name, images=images, labels=labels)
        return prepared(DataSettings(high_quality=str(tmp_path / name), resolution=16), without_hq=1)

    greys, labels = np.arange(80), np.arange(80) % 4
    (withheld,) = dataset("apart.npz", greys).withheld.tolist()
    others = np.flatnonzero(labels != withheld)[:6]
    greys[others] = np.flatnonzero(labels == withheld)[:6]
    training = dataset("copied.npz", greys).training
    assert not set(greys[labels == withheld].tolist()) & set(greys[training].tolist())
    assert set(labels[training].tolist()) == set(range(4)) - {withheld}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"without_hq": 9}, r"data.without_hq is 9, but .* 10 classes, of which 2 must keep .*; use at most 8"),
        ({"without_hq": 1, "pairing": "independent"}, "use data.pairing=matched, or data.without_hq=0"),
    ],
)
def test_what_cannot_be_withheld_is_refused(npz: DataSettings, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        prepared(npz, **changes)


def test_probe_classes_know_which_of_them_are_withheld(npz: DataSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctfgan.data.dataset.MOST_MEASURED_CLASSES", 9)
    monkeypatch.setattr("ctfgan.data.dataset.PROBE_CLASSES", 4)
    dataset = prepared(npz, without_hq=5)
    found = dataset.evaluated_classes
    assert found.labels[found.lq_only].tolist() == [c for c in found.labels.tolist() if c in dataset.lq_only]
    assert not set(found.lq_only.tolist()) & set(found.training.labels.tolist())


@pytest.mark.parametrize(("recipe", "is_told"), [("ctf-folders", False), ("ctf-r3-folders", True)])
def test_a_recipe_that_conditions_on_real_classes_alone_says_that_the_others_are_not_trained(
    npz: DataSettings, recipe: str, is_told: bool
) -> None:
    said: list[str] = []
    settings = (f"data.high_quality={npz.high_quality}", "data.resolution=16", "data.without_hq=2", "device=cpu")
    open_context(ctfgan.recipe(recipe, *settings), Callbacks(say=said.append))
    told = [line for line in said if "are not trained" in line]
    assert len(told) == is_told
    assert all("--set transfer.fake_classes=uniform --set generate.fake_classes=uniform" in line for line in told)
