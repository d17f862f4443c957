"""Codes of classes against numpy: centred means, and classes that have low-quality images only."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from ctfgan.data.dataset import Dataset
from ctfgan.data.prepare import prepare
from ctfgan.data.settings import DataSettings
from ctfgan.metrics.eval_classifier import EvalClassifier
from ctfgan.metrics.settings import EvalClassifierSettings
from ctfgan.training.class_codes import ClassEncoder, SeenImages, class_means, codes_of_classes, kept_class_means

WriteClasses = Callable[..., Path]

CPU = torch.device("cpu")


@pytest.fixture
def dataset(tmp_path: Path, write_classes: WriteClasses) -> Dataset:
    """Four classes with images of both sides, and two with low-quality ones only."""
    high = write_classes(tmp_path / "hq", dict.fromkeys("bcde", 9), size=16)
    low = write_classes(tmp_path / "lq", dict.fromkeys("abcdef", 7), size=8, first=100)
    settings = DataSettings(high_quality=str(high), low_quality=str(low), resolution=16)
    return prepare(settings, low_quality=True)


def classifier(channels: int) -> EvalClassifier:
    torch.manual_seed(0)
    return EvalClassifier(channels, 6, EvalClassifierSettings(width=4, features=5)).eval()


def test_codes_are_the_directions_of_the_class_means_from_their_own_mean() -> None:
    means = torch.randn(40, 5) @ torch.randn(5, 5) + 3
    codes = ClassEncoder.fitted(classifier(1), means).codes(means).double().numpy()
    centred = (means.double() - means.double().mean(0)).numpy()
    cosines = (codes * centred).sum(1) / np.linalg.norm(centred, axis=1)
    np.testing.assert_allclose(np.linalg.norm(codes, axis=1), 1, atol=2e-3)
    np.testing.assert_allclose(cosines, 1, atol=2e-3)


def test_a_class_without_images_has_the_code_0(dataset: Dataset) -> None:
    network, seen = classifier(dataset.channels), SeenImages(dataset)
    means = class_means(network, seen.high_quality, dataset.num_classes, CPU)
    assert means.isnan().all(dim=1).tolist() == [False] * 4 + [True] * 2
    codes = ClassEncoder.fitted(network, means).codes(means)
    assert codes.count_nonzero(dim=1).bool().tolist() == [True] * 4 + [False] * 2


def test_means_are_those_of_all_training_images_of_a_class(dataset: Dataset) -> None:
    network = classifier(dataset.channels)
    means = class_means(network, SeenImages(dataset).high_quality, dataset.num_classes, CPU)
    rows = dataset.training[dataset.labels(dataset.training) == 2]
    images = torch.from_numpy(dataset.images(rows)).permute(0, 3, 1, 2) / 127.5 - 1
    torch.testing.assert_close(means[2], network.features(images).mean(0).detach(), rtol=1e-4, atol=1e-5)


def test_means_are_read_once_for_the_same_images_and_classifier(dataset: Dataset, tmp_path: Path) -> None:
    network, seen = classifier(dataset.channels), SeenImages(dataset).high_quality
    first = kept_class_means(network, seen, 6, tmp_path, CPU)
    torch.testing.assert_close(first, class_means(network, seen, 6, CPU), equal_nan=True)
    unreadable = replace(seen, images=np.empty((0, 1, 1, 1), np.uint8))
    torch.testing.assert_close(kept_class_means(network, unreadable, 6, tmp_path, CPU), first, equal_nan=True)
    with pytest.raises(IndexError):
        kept_class_means(network, replace(unreadable, identity="others"), 6, tmp_path, CPU)
    (file,) = (tmp_path / "class-means").iterdir()
    file.write_bytes(b"damaged")
    torch.testing.assert_close(kept_class_means(network, seen, 6, tmp_path, CPU), first, equal_nan=True)


def test_classes_with_low_quality_images_only_get_codes_of_these_less_what_tells_the_sides_apart(
    dataset: Dataset,
) -> None:
    network = classifier(dataset.channels)
    high = class_means(network, SeenImages(dataset).high_quality, 6, CPU)
    encoder = ClassEncoder.fitted(network, high)
    seen = SeenImages(dataset).low_quality
    assert seen is not None
    codes = codes_of_classes(encoder, high, class_means(network, seen, 6, CPU))
    assert dataset.classes == ("b", "c", "d", "e", "a", "f")
    assert dataset.low_quality is not None
    bank = dataset.low_quality.bank
    enlarged = [
        np.asarray(Image.fromarray(image.squeeze()).resize((16, 16), Image.Resampling.BILINEAR)).reshape(16, 16, -1)
        for image in bank.images[np.arange(len(bank))]
    ]
    features = network.features(torch.from_numpy(np.stack(enlarged)).permute(0, 3, 1, 2) / 127.5 - 1).detach()
    names = [dataset.low_quality.names[label] for label in bank.labels.tolist()]
    low = torch.stack([features[[name == wanted for name in names]].mean(0) for wanted in dataset.classes])
    expected = F.normalize(low[4:] - (low[:4] - high[:4]).mean(0) - encoder.mean, dim=1)
    assert torch.equal(codes[:4], encoder.codes(high)[:4])
    torch.testing.assert_close(codes[4:].float(), expected, atol=0.03, rtol=0)


def test_a_classifier_of_some_classes_sees_both_sides_of_these_alone(dataset: Dataset) -> None:
    seen = SeenImages(dataset).of(np.array([1, 3, 5]))
    assert dataset.low_quality is not None
    bank = dataset.low_quality.bank
    counts = [(dataset.labels(dataset.training) == label).sum() for label in (1, 3, 5)]
    for place, name in enumerate("cef"):
        counts[place] += sum(dataset.low_quality.names[label] == name for label in bank.labels.tolist())
    assert np.bincount(seen.labels).tolist() == counts
    assert seen.images[seen.rows].shape == (sum(counts), 16, 16, dataset.channels)
