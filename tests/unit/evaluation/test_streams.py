from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from ctfgan.core.progress import silent
from ctfgan.data.images import to_float
from ctfgan.data.low_quality_bank import LowQualityBank
from ctfgan.distributed.engine import alone
from ctfgan.distributed.random_streams import BatchRng, PerImageRng
from ctfgan.evaluation import image_streams
from ctfgan.evaluation.enhance_and_vary import several_results
from ctfgan.evaluation.image_streams import (
    ImageSample,
    ImageSet,
    floor_split,
    generated_chunks,
    reported_set,
)
from ctfgan.evaluation.result import VARIATIONS
from ctfgan.models.interfaces import Condition, Noise, normal_noise
from ctfgan.models.synthesis import synthesise
from tests.contract.test_changed_classes import random_bundle
from tests.unit.metrics.extractors import numbered_images

CPU = alone(torch.device("cpu"))


class Echo(nn.Module):
    """Images whose first pixel is the class, the second the low-quality image, the third the noise."""

    def draw_noise(self, count: int, batch_rng: BatchRng) -> Noise:
        return normal_noise(count, 1, 1, 0, batch_rng)

    def forward(self, condition: Condition, noise: Noise) -> torch.Tensor:
        assert condition.low_quality is not None
        first = condition.labels / 100
        pixels = torch.stack([first, condition.low_quality[:, 0, 0, 0], noise.latent[:, 0] / 5, first], dim=1)
        return pixels.reshape(-1, 1, 2, 2)


class Reference:
    """Real images of some labels, each showing the picture of a number."""

    def __init__(self, labels: np.ndarray, pictures: np.ndarray) -> None:
        self.labels = labels
        self.rows = np.arange(len(labels))
        self.packed = SimpleNamespace(digests=pictures.astype(np.uint64))


@pytest.fixture
def images() -> ImageSet:
    bank = LowQualityBank(numbered_images(200), np.zeros(200, dtype=np.int64), None)
    return ImageSet("samples", Echo(), bank, torch.arange(25), tuple("abcdefghijklmnopqrstuvwxy"))


def draw(images: ImageSet, seed: int, numbers: torch.Tensor) -> np.ndarray:
    return np.concatenate([pixels for pixels, _ in generated_chunks(images, numbers, seed, CPU, silent, "")])


def test_a_stream_never_holds_more_than_a_chunk(images: ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_streams, "CHUNK", 10)
    parts = list(generated_chunks(images, torch.arange(25), 0, CPU, silent, ""))
    assert [len(pixels) for pixels, _ in parts] == [10, 10, 5]
    assert torch.cat([labels for _, labels in parts if labels is not None]).tolist() == list(range(25))


def test_images_are_asked_for_by_measured_class_and_made_of_the_class_behind_it(images: ImageSet) -> None:
    probes = replace(images, labels=torch.tensor([3, 40, 90]))
    ((pixels, numbers),) = generated_chunks(probes, torch.tensor([2, 0, 1, 0]), 0, CPU, silent, "")
    assert numbers is not None
    assert numbers.tolist() == [2, 0, 1, 0]
    shown = (pixels[:, 0, 0, 0] / 127.5 - 1) * 100  # Echo's first pixel
    assert shown.tolist() == pytest.approx([90, 3, 40, 3], abs=1)


def test_an_image_follows_from_seed_class_and_its_number_in_the_class_whatever_else_is_drawn(
    images: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = torch.arange(25).repeat(2)
    one = draw(images, 3, numbers)
    assert not np.array_equal(one[:25, 1, 0], one[25:, 1, 0]), "noise of the first and of the second image of a class"
    other = draw(images, 4, numbers)
    assert not np.array_equal(one[:, 0, 1], other[:, 0, 1])  # low-quality images
    assert not np.array_equal(one[:, 1, 0], other[:, 1, 0])  # noise
    monkeypatch.setattr(image_streams, "CHUNK", 10)
    assert np.array_equal(one, draw(images, 3, numbers))
    assert np.array_equal(one[[7, 32]], draw(images, 3, torch.tensor([7, 7])))


def test_a_sieve_lets_all_pass_and_keeps_the_same_images_for_the_same_seed() -> None:
    def chunks() -> Iterable[tuple[np.ndarray, None]]:
        return ((part, None) for part in np.array_split(numbered_images(100), 7))

    kept = []
    for _ in range(2):
        sample = ImageSample(100, 12, seed=5)
        assert sum(len(pixels) for pixels, _ in sample.collect(chunks())) == 100
        kept.append(sample.images()[:, 0, 0, 0])
    assert np.array_equal(kept[0], kept[1])
    assert len(set(kept[0].tolist())) == 12


def test_the_held_out_bank_stands_for_a_run_and_the_training_bank_where_none_is_held_out(images: ImageSet) -> None:
    held_out = ImageSet("held out", images.generator, images.bank, images.labels, images.names)
    raw = ImageSet("without moving average", Echo(), images.bank, images.labels, images.names)
    assert reported_set([images, held_out, raw]) is held_out
    assert reported_set([images, raw]) is images


def test_the_floor_has_as_many_images_as_samples_or_half_of_the_reference_and_every_class_evenly() -> None:
    labels = np.repeat(np.arange(5), [10, 20, 30, 7, 9])
    reference = Reference(labels, np.arange(76))
    for images, expected in ((20, 20), (38, 38), (39, 38), (5_000, 38)):
        one, other = floor_split(reference, images, seed=0)  # type: ignore[arg-type]
        assert len(one) == expected
        assert sorted([*one, *other]) == list(range(76))
        shares = np.bincount(labels[one]) / np.bincount(labels)
        assert np.abs(shares - expected / 76).max() <= 1 / 7
        assert not np.array_equal(one, floor_split(reference, images, seed=1)[0])  # type: ignore[arg-type]


def test_the_floor_compares_no_picture_with_itself() -> None:
    pictures = np.arange(80) // 4
    one, other = floor_split(Reference(np.arange(80) % 2, pictures), 5_000, seed=0)  # type: ignore[arg-type]
    assert sorted([*one, *other]) == list(range(80))
    assert not set(pictures[one]) & set(pictures[other])
    assert 36 <= len(one) <= 44


@pytest.mark.parametrize("copies", [(1, 1, 1, 1), (20, 1, 1, 1), (520, *[1] * 480), (1, 1, 60, 60), (2, 500, 2, 2)])
def test_a_picture_with_many_copies_leaves_two_images_on_either_side_of_the_floor(copies: tuple[int, ...]) -> None:
    pictures = np.repeat(np.arange(len(copies)), copies)
    for seed in range(10):
        one, other = floor_split(Reference(pictures % 2, pictures), 200, seed)  # type: ignore[arg-type]
        assert min(len(one), len(other)) >= 2
        assert len(one) + len(other) == len(pictures)
        assert not set(pictures[one]) & set(pictures[other])


def test_several_results_are_of_the_class_that_their_low_quality_image_shows() -> None:
    bundle = random_bundle("ctf-folders")
    channels = bundle.data_spec.channels
    pixels = np.arange(7, dtype=np.uint8)[:, None, None, None] * np.full((1, 8, 8, channels), 36, dtype=np.uint8)
    # Class 2 has no image of its own, the last image has no label.
    bank = LowQualityBank(pixels, np.array([0, 0, 1, 1, 2, 3, -1]), np.array([0, 1, -1, 2, 3]))
    images = ImageSet("samples", bundle.generator, bank, torch.arange(5), bundle.classes)
    numbers = np.array([0, 0, 0, 0, 1, 2, 3, 3, 4])
    made = several_results(images, numbers, 3, 5, CPU)
    assert made is not None
    greys = (made.low_quality[:, 0, 0, 0] // 36).tolist()
    assert len(set(greys)) == len(greys), "each image once"
    assert [[0, 0, 1, 1, 3, 4][grey] for grey in greys] == made.numbers.tolist()
    assert set(made.numbers.tolist()) <= {0, 1, 3, 4}
    for results in made.results.values():
        flat = results.reshape(len(greys) * 3, -1)
        assert len(np.unique(flat, axis=0)) == len(flat), "other noise for each"

    place = len(greys) - 1
    name, label = bundle.classes[made.numbers[place]], torch.from_numpy(made.numbers[[place] * 3])
    rng = PerImageRng(5, [name] * 3, range(3 * place, 3 * place + 3))
    condition = Condition(
        label, to_float(made.low_quality[[place] * 3]), bank.labels_of(torch.tensor([greys[place]] * 3))
    )
    noise = bundle.generator.draw_noise(3, rng)  # type: ignore[operator]
    alike = synthesise(bundle.generator, condition, noise, CPU)
    assert np.abs(alike.astype(int) - made.results[VARIATIONS][place]).max() <= 1  # a batch of another size

    for other in (
        replace(images, bank=LowQualityBank(pixels, bank.labels, None)),
        replace(images, generator=random_bundle("projection-folders").generator),
    ):
        assert several_results(other, numbers, 3, 5, CPU) is None
