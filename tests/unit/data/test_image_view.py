from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from synthetic_images import synthetic_images

from ctfgan.data.batches import BatchStream
from ctfgan.data.dataset import Dataset
from ctfgan.data.low_quality_bank import ImageView
from ctfgan.data.packed import PackedImages
from ctfgan.data.prepare import prepare
from ctfgan.data.settings import DataSettings, DegradationSettings
from ctfgan.distributed.random_streams import BatchRng

ROWS = np.array([3, 8, 9, 20])
NOISY = DegradationSettings(size=8, noise=0.1, share=0.5)


@pytest.fixture
def packed(tmp_path: Path) -> PackedImages:
    return synthetic_images(tmp_path / "made", 4, 10, 16, 3)


def test_a_view_reads_the_images_of_its_rows(packed: PackedImages) -> None:
    view = ImageView(packed, ROWS, None, 0)
    assert view.shape == (4, 16, 16, 3)
    assert np.array_equal(view[np.array([2, 0, 2])], packed.images[[9, 3, 9]])


def test_a_degraded_image_does_not_depend_on_what_it_is_read_with(
    packed: PackedImages, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = ImageView(packed, ROWS, NOISY, 5)
    together = view[np.arange(4)]
    monkeypatch.setattr("ctfgan.data.low_quality_bank.CHUNK", 3)
    assert np.array_equal(view[np.arange(4)], together)
    assert view.shape == together.shape == (4, 8, 8, 3)
    assert np.array_equal(view[np.array([3, 1])], together[[3, 1]])


def test_a_digest_changes_with_rows_degradation_seed_and_images(packed: PackedImages, tmp_path: Path) -> None:
    others = synthetic_images(tmp_path / "others", 4, 11, 16, 3)
    views = [
        ImageView(packed, ROWS, NOISY, 5), ImageView(packed, ROWS, None, 5), ImageView(packed, ROWS, NOISY, 6),
        ImageView(packed, ROWS + 1, NOISY, 5), ImageView(others, ROWS, NOISY, 5),
    ]  # fmt: skip
    assert len({view.digest() for view in views}) == len(views)
    assert views[0].digest() == ImageView(packed, ROWS.copy(), NOISY.model_copy(), 5).digest()


def dataset(tmp_path: Path, low_quality: str | None) -> Dataset:
    low = None if low_quality is None else str(tmp_path / low_quality)
    settings = DataSettings(high_quality=str(tmp_path / "made"), low_quality=low, resolution=16, degradation=NOISY)
    return prepare(settings, low_quality=True)


@pytest.mark.parametrize("low_quality", [None, "low"])
def test_batches_of_images_read_when_drawn_are_those_of_images_in_memory(
    low_quality: str | None, packed: PackedImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synthetic_images(tmp_path / "low", 4, 10, 8, 3)
    in_memory = dataset(tmp_path, low_quality)
    monkeypatch.setattr("ctfgan.data.low_quality_bank.MOST_READ_AT_ONCE", 0)
    on_demand = dataset(tmp_path, low_quality)
    assert in_memory.low_quality is not None
    assert on_demand.low_quality is not None
    assert isinstance(in_memory.low_quality.bank.images, np.ndarray)
    assert isinstance(on_demand.low_quality.bank.images, ImageView)
    assert on_demand.low_quality_size == in_memory.low_quality_size == 8
    for one, other in zip(*(BatchStream(data, 16, 0, BatchRng.of(1)) for data in (in_memory, on_demand)), strict=False):
        assert one.low_quality is not None
        assert other.low_quality is not None
        assert torch.equal(one.low_quality, other.low_quality)
        assert torch.equal(one.fake_labels, other.fake_labels)
        break
    again = dataset(tmp_path, low_quality)
    assert again.low_quality is not None
    prints = [data.low_quality.bank.fingerprint() for data in (on_demand, again) if data.low_quality]
    assert prints[0] == prints[1]
