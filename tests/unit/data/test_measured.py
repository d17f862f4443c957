from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from ctfgan.data.dataset import Dataset
from ctfgan.data.describe import describe
from ctfgan.data.prepare import prepare
from ctfgan.data.settings import DataSettings

CLASSES = 20


@pytest.fixture
def write(tmp_path: Path, cache: Path, write_npz: Callable[..., Path]) -> Callable[..., Dataset]:
    """20 classes of 10 images; image i is grey level i all over and of class i mod 20."""

    def prepared(**settings: object) -> Dataset:
        path = str(write_npz(tmp_path / "hq.npz", CLASSES, 10))
        return prepare(
            DataSettings.model_validate({"high_quality": path, "resolution": 16} | settings), low_quality=True
        )

    return prepared


@pytest.fixture
def probed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ctfgan.data.dataset.MOST_MEASURED_CLASSES", 19)
    monkeypatch.setattr("ctfgan.data.dataset.PROBE_CLASSES", 4)


def test_few_classes_are_all_measured_by_their_own_labels(write: Callable[..., Dataset]) -> None:
    dataset = write()
    found = dataset.evaluated_classes
    assert not found.is_part
    assert found.names == dataset.classes
    assert found.labels.tolist() == list(range(CLASSES))
    assert np.array_equal(found.pool.rows, dataset.pool)
    assert np.array_equal(found.pool.labels, dataset.labels(dataset.pool))
    assert found.reference is dataset.reference
    assert not any("probe" in line for line in describe(dataset, DataSettings()))


@pytest.mark.usefixtures("probed")
def test_of_many_classes_an_even_selection_is_measured(write: Callable[..., Dataset]) -> None:
    dataset = write(held_out=0.3)
    found = dataset.evaluated_classes
    assert found.labels.tolist() == [0, 6, 13, 19]
    assert found.names == tuple(dataset.classes[label] for label in (0, 6, 13, 19))
    assert found.labels_of(torch.tensor([3, 0, 1])).tolist() == [19, 0, 6]
    for subset, everything in (
        (found.training, dataset.training), (found.pool, dataset.pool), (found.reference, dataset.reference.rows)
    ):  # fmt: skip
        greys = subset.images[:, 0, 0, 0].tolist()
        assert greys == [row for row in everything.tolist() if row % CLASSES in (0, 6, 13, 19)]
        assert [(0, 6, 13, 19)[number] for number in subset.labels] == [grey % CLASSES for grey in greys]
    assert found.only(np.arange(25)).tolist() == [0, 6, 13, 19, 20]
    assert "  measured: 4 probe classes of 20" in describe(dataset, DataSettings())


@pytest.mark.usefixtures("probed")
def test_probe_classes_are_among_those_that_the_reference_has(write: Callable[..., Dataset], tmp_path: Path) -> None:
    greys = np.arange(200, 215, dtype=np.uint8)[:, None, None]
    labels = np.arange(5).repeat(3) + 2  # classes 2 ... 6 only
    np.savez(tmp_path / "other.npz", images=np.broadcast_to(greys, (15, 16, 16)), labels=labels)
    found = write(reference=str(tmp_path / "other.npz")).evaluated_classes
    assert found.labels.tolist() == [2, 3, 5, 6]
    assert found.reference.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert found.reference.images[:, 0, 0, 0].tolist() == [*range(200, 206), *range(209, 215)]
