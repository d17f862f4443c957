from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from ctfgan.data.batches import Batch, BatchStream
from ctfgan.data.dataset import Dataset
from ctfgan.data.images import to_bytes
from ctfgan.data.prepare import prepare
from ctfgan.data.settings import DataSettings, DegradationSettings
from ctfgan.distributed.random_streams import BatchRng

CLASSES = 4


@pytest.fixture
def dataset(tmp_path: Path, cache: Path, write_npz: Callable[..., Path]) -> Dataset:
    """40 images in 4 classes, row i of grey level i; 36 of them to train on, 27 of these in the share."""
    path = str(write_npz(tmp_path / "hq.npz", CLASSES, 10))
    degradation = DegradationSettings(size=4, share=0.4)
    settings = DataSettings(high_quality=path, resolution=16, high_quality_fraction=0.75, degradation=degradation)
    return prepare(settings, low_quality=True)


def stream(dataset: Dataset, batch_size: int, seed: int = 0) -> BatchStream:
    return BatchStream(dataset, batch_size, seed, BatchRng.of(1))


def rows(batch: Batch) -> list[int]:
    return to_bytes(batch.real)[:, 0, 0, 0].tolist()


@pytest.mark.parametrize("batch_size", [1, 7, 9, 27, 40, 60])
def test_every_pass_shows_each_training_image_once(dataset: Dataset, batch_size: int) -> None:
    batches = stream(dataset, batch_size)
    count = len(dataset.training)
    passes = 14
    seen: Counter[int] = Counter()
    for number in range(1, passes * count // batch_size + 1):
        batch = rows(next(batches))
        assert len(batch) == batch_size
        seen.update(batch)
        done = number * batch_size // count
        assert {seen[row] for row in dataset.training.tolist()} <= {done, done + 1}
    assert set(seen) == set(dataset.training.tolist())
    assert max(seen.values()) in (passes - 1, passes)


def test_passes_differ_in_order_and_seeds_do_too(dataset: Dataset) -> None:
    batches, others = stream(dataset, 9), stream(dataset, 9, seed=1)
    passes = [[rows(next(batches)) for _ in range(3)] for _ in range(2)]
    assert passes[0] != passes[1]
    assert passes[0] != [rows(next(others)) for _ in range(3)]


def test_a_batch_is_what_it_says(dataset: Dataset) -> None:
    batch = next(stream(dataset, 50))
    assert batch.real.shape == (50, 1, 16, 16)
    assert batch.real.dtype == torch.float32
    assert batch.real_labels.tolist() == [row % CLASSES for row in rows(batch)]
    assert batch.low_quality is not None
    assert batch.low_quality_labels is not None
    assert batch.low_quality.shape == (50, 1, 4, 4)
    assert torch.equal(batch.low_quality_labels, batch.fake_labels)  # matched
    low_quality_rows = torch.from_numpy(to_bytes(batch.low_quality)[:, 0, 0, 0])
    assert torch.equal(low_quality_rows % CLASSES, batch.fake_labels)


def test_synthetic_classes_are_uniform(dataset: Dataset) -> None:
    batches = stream(dataset, 100)
    counts = torch.cat([next(batches).fake_labels for _ in range(40)]).bincount()
    assert counts.tolist() == pytest.approx([1_000] * CLASSES, abs=110)  # four standard deviations


def test_no_low_quality_images_are_drawn_where_there_are_none(dataset: Dataset) -> None:
    settings = DataSettings(high_quality=dataset.high_quality.survey.location, resolution=16)
    batch = next(stream(prepare(settings, low_quality=False), 5))
    assert batch.low_quality is None
    assert batch.low_quality_labels is None


@pytest.mark.parametrize("steps", [0, 2, 3, 8])
def test_a_restored_stream_goes_on_identically(dataset: Dataset, steps: int) -> None:
    batch_rng = BatchRng.of(1)
    batches = BatchStream(dataset, 9, 0, batch_rng)
    for _ in range(steps):
        next(batches)
    state, random_state = batches.state(), batch_rng.rng.get_state()
    expected = [next(batches) for _ in range(7)]

    other = BatchRng.of(2)
    restored = BatchStream(dataset, 9, 0, other)
    restored.restore(state)
    other.rng.set_state(random_state)
    for batch in expected:
        again = next(restored)
        for name in ("real", "real_labels", "fake_labels", "low_quality", "low_quality_labels"):
            assert torch.equal(getattr(again, name), getattr(batch, name)), name


def test_the_first_images_of_a_batch_are_of_all_classes(dataset: Dataset) -> None:
    """Task 3 pastes patches into them; sorted rows would make it meet the first classes only."""
    batches = stream(dataset, 8)
    first = torch.cat([next(batches).real_labels[:2] for _ in range(400)])
    assert torch.bincount(first, minlength=CLASSES).min() > 800 / CLASSES * 0.7


@pytest.mark.parametrize("fake_classes", ["uniform", "real"])
def test_processes_hold_together_the_batches_of_a_single_one(dataset: Dataset, fake_classes: str) -> None:
    alone = BatchStream(dataset, 10, 0, BatchRng.of(1), fake_classes)
    together = [
        BatchStream(dataset, 10, 0, BatchRng(torch.Generator().manual_seed(1), rank, 2), fake_classes)
        for rank in range(2)
    ]
    for _ in range(7):  # more than two passes
        expected, parts = next(alone), [next(stream) for stream in together]
        for name in ("real", "real_labels", "fake_labels", "low_quality", "low_quality_labels"):
            whole = getattr(expected, name)
            assert [len(getattr(part, name)) for part in parts] == [5, 5]
            for rank, part in enumerate(parts):
                assert torch.equal(getattr(part, name), whole[rank::2]), name
    assert together[0].state() == together[1].state() == alone.state()


def test_streams_of_a_dataset_share_its_images_on_a_device(dataset: Dataset) -> None:
    next(stream(dataset, 5))
    assert dataset.device_images(torch.device("cpu")) is dataset.device_images(torch.device("cpu"))
    assert dataset.device_images(torch.device("cpu"))[1] is not None
