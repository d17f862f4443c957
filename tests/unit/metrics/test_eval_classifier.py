from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from ctfgan.core.progress import silent
from ctfgan.data.low_quality_bank import LowQualityBank
from ctfgan.metrics.eval_classifier import EvalClassifierTrainer, TrainedEvalClassifier, TrainingImages, shift
from ctfgan.metrics.settings import EvalClassifierSettings
from ctfgan.metrics.usual_augmentation import UsualAugmentation
from tests.unit.data.test_copies import packed_images, pictures

SETTINGS = EvalClassifierSettings(width=4, features=8, images=4_000, batch_size=32)
CPU = torch.device("cpu")


def stripes(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two classes that differ by the direction of stripes, under noise."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    lines = np.indices((16, 16))[labels] // 2 % 2 * 120
    return (lines + rng.integers(0, 100, (count, 16, 16))).astype(np.uint8)[..., None], labels


def trained(
    images: np.ndarray,
    labels: np.ndarray,
    classes: int,
    settings: EvalClassifierSettings,
    cache: Path,
    progress: Any = silent,
) -> TrainedEvalClassifier:
    data = TrainingImages(images, np.arange(len(images)), labels, hashlib.sha256(images.tobytes()).hexdigest())
    return EvalClassifierTrainer(settings, CPU, progress, cache).train([data], classes)


def test_it_learns_to_tell_classes_of_unseen_images_apart(tmp_path: Path) -> None:
    classifier = trained(*stripes(200, 0), 2, SETTINGS, tmp_path)
    images, labels = stripes(100, 1)
    features, probabilities = classifier.read(images)
    assert features.shape == (100, 8)
    assert (probabilities.argmax(dim=1).numpy() == labels).mean() > 0.95


def test_it_is_trained_once_for_the_same_images_and_again_for_others(tmp_path: Path) -> None:
    calls: list[str] = []

    def spy(items: object, total: int, what: str) -> object:
        calls.append(what)
        return items

    images, labels = stripes(64, 0)
    few = SETTINGS.model_copy(update={"images": 64})
    first = trained(images, labels, 2, few, tmp_path, spy)
    assert trained(images, labels, 2, few, tmp_path, spy).card.name == first.card.name
    assert len(calls) == 1
    images = images.copy()
    images[0, 0, 0] ^= 1
    trained(images, labels, 2, few, tmp_path, spy)
    assert len(calls) == 2


def test_training_does_not_touch_the_global_random_state(tmp_path: Path) -> None:
    before = torch.random.get_rng_state()
    few = SETTINGS.model_copy(update={"images": 64})
    trained(*stripes(64, 0), 2, few, tmp_path)
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.parametrize("channels", [1, 3])
def test_it_reads_grey_and_colour(channels: int, tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (40, 24, 24, channels), dtype=np.uint8)
    few = SETTINGS.model_copy(update={"images": 64})
    classifier = trained(images, np.arange(40) % 3, 3, few, tmp_path)
    features, probabilities = classifier.read(images)
    assert features.isfinite().all()
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(40))


@pytest.mark.parametrize(("down", "right"), [(0, 0), (2, -1), (-2, 1), (0, 2)])
def test_a_shift_repeats_the_edge_and_nothing_comes_back_on_the_other_side(down: int, right: int) -> None:
    images = torch.arange(36.0).reshape(1, 1, 6, 6)
    moved = shift(images, down, right)
    for row, column in np.ndindex(6, 6):
        source = min(max(row - down, 0), 5), min(max(column - right, 0), 5)
        assert moved[0, 0, row, column] == images[0, 0, source[0], source[1]]


class Watcher(UsualAugmentation):
    """Keeps what the classifier would be shown."""

    batches: list[Tensor] = []  # noqa: RUF012

    def __call__(self, images: Tensor, rng: np.random.Generator) -> Tensor:
        self.batches.append(images)
        return super().__call__(images, rng)


def test_each_kind_of_images_is_the_same_share_of_every_batch_however_few_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five images of level 0, 300 of level 100 and 40 of level 200, told apart by their pixels."""
    monkeypatch.setattr(Watcher, "batches", [])
    kinds = [
        TrainingImages(np.full((count, 8, 8, 1), level, np.uint8), np.arange(count), np.zeros(count, np.int64), "")
        for count, level in ((5, 0), (300, 100), (40, 200))
    ]
    settings = SETTINGS.model_copy(update={"images": 320})
    EvalClassifierTrainer(settings, CPU, cache=tmp_path).train(kinds, 2, augmentation=Watcher(flips=False))
    levels = [batch[:, 0, 0, 0].add(1).mul(127.5).round().int().tolist() for batch in Watcher.batches]
    assert len(levels) == 10
    for batch in levels:
        assert [batch.count(level) for level in (0, 100, 200)] == [11, 11, 10]


def test_augmentation_and_kinds_are_part_of_what_the_cache_goes_by(tmp_path: Path) -> None:
    images, labels = stripes(64, 0)
    trainer = EvalClassifierTrainer(SETTINGS.model_copy(update={"images": 64}), CPU, cache=tmp_path)
    rows = np.arange(64)
    whole = TrainingImages(images, rows, labels, "stripes")
    halves = [TrainingImages(images, half, labels[half], "stripes") for half in np.split(rows, 2)]
    other_labels = TrainingImages(images, rows, 1 - labels, "stripes")
    for _ in range(2):
        for kinds in ([whole], halves, [other_labels]):
            trainer.train(kinds, 2)
            for flips in (True, False):
                trainer.train(kinds, 2, augmentation=UsualAugmentation(flips))
    assert len(list((tmp_path / "recognisers").iterdir())) == 9


@pytest.mark.parametrize("augmentation", [None, UsualAugmentation(flips=False)])
def test_batch_norm_has_the_statistics_of_the_first_kind_as_it_is(
    augmentation: UsualAugmentation | None, tmp_path: Path
) -> None:
    images, labels = stripes(30, 0)
    bright = (images // 4 + 190).astype(np.uint8)
    few = SETTINGS.model_copy(update={"images": 320})
    kinds = [TrainingImages(pixels, np.arange(30), labels, str(pixels.sum())) for pixels in (images, bright)]
    network = EvalClassifierTrainer(few, CPU, cache=tmp_path).train(kinds, 2, augmentation=augmentation).network
    convolution, norm = network.trunk[0], network.trunk[1]
    assert isinstance(norm, nn.BatchNorm2d)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    outputs = convolution(torch.from_numpy(images).permute(0, 3, 1, 2) / 127.5 - 1).detach()
    torch.testing.assert_close(norm.running_mean, outputs.mean(dim=(0, 2, 3)))
    torch.testing.assert_close(norm.running_var, outputs.var(dim=(0, 2, 3)))


def test_low_quality_images_are_labelled_by_class_and_as_large_as_the_others() -> None:
    """Of four classes the second has no low-quality images; label 1 is of no class, and one image has no label."""
    rng = np.random.default_rng(0)
    low = rng.integers(0, 256, (6, 8, 8, 1), dtype=np.uint8)
    bank = LowQualityBank(low, np.array([2, 0, 1, -1, 3, 0]), np.array([3, -1, 0, 2]))
    assert bank.class_labels.tolist() == [3, 2, -1, -1, 0, 2]
    packed = packed_images(pictures([0, 1, 2, 3]), [0, 1, 2, 3])
    images = TrainingImages.of_low_quality(bank, packed, np.array([1, 2, 3]))
    assert images.labels.tolist() == [2, 1, 1], "places among the three classes"
    enlarged = images.images[images.rows]
    for own, row in zip(enlarged, (0, 1, 5), strict=True):
        oracle = Image.fromarray(low[row, ..., 0]).resize((16, 16), Image.Resampling.BILINEAR)
        assert np.abs(own[..., 0].astype(int) - np.asarray(oracle)).max() <= 1
