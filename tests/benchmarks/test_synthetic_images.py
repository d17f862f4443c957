from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from synthetic_images import synthetic_images

from ctfgan.data.batches import BatchStream
from ctfgan.data.class_names import ClassNames
from ctfgan.data.describe import describe
from ctfgan.data.prepare import prepare
from ctfgan.data.settings import DataSettings
from ctfgan.distributed.random_streams import BatchRng


def test_synthetic_images_are_a_folder_as_data_build_writes_it(tmp_path: Path) -> None:
    packed = synthetic_images(tmp_path / "made", 11, 5, 16, 3)
    assert packed.images.shape == (55, 16, 16, 3)
    assert packed.classes == tuple(f"{number:02}" for number in range(11))
    assert packed.labels.tolist() == [row % 11 for row in range(55)]
    assert len(np.unique(packed.images.reshape(55, -1), axis=0)) == 55
    again = synthetic_images(tmp_path / "again", 11, 5, 16, 3)
    assert np.array_equal(again.images, packed.images)
    assert again.fingerprint == packed.fingerprint
    dataset = prepare(DataSettings(high_quality=str(tmp_path / "made"), resolution=16), low_quality=True)
    assert (dataset.num_classes, dataset.channels) == (11, 3)


@pytest.mark.parametrize("low", ["copies", "foreign"])
def test_a_run_of_very_many_classes_starts_without_reading_all_their_names(
    low: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = DataSettings(high_quality=str(tmp_path / "made"), resolution=16)
    synthetic_images(tmp_path / "made", 10_001, 4, 16, 1)
    if low == "foreign":
        synthetic_images(tmp_path / "low", 10_001, 4, 8, 1)
        settings = settings.model_copy(update={"low_quality": str(tmp_path / "low")})
    monkeypatch.setattr(ClassNames, "all", lambda names: pytest.fail("all names were decoded"))
    dataset = prepare(settings, low_quality=True)
    assert any("1,000 probe classes of 10,001" in line for line in describe(dataset, settings))
    batch = next(BatchStream(dataset, 8, 0, BatchRng.of(0)))
    assert batch.low_quality_labels is not None
    assert batch.low_quality_labels.tolist() == batch.fake_labels.tolist()  # matched by name
