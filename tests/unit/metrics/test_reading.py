from __future__ import annotations

import numpy as np
import pytest
import torch

from ctfgan.metrics.reading import Accuracy, read_images
from tests.unit.metrics.extractors import PixelExtractor, numbered_images


def test_every_extractor_sees_every_image_once_in_the_chunks_that_come() -> None:
    images = numbered_images(100)
    extractors = [PixelExtractor(2, 3, "one"), PixelExtractor(5, 0, "other")]
    readings = read_images(extractors, ((part, None) for part in np.array_split(images, 7)), 100, seed=0)
    assert set(readings) == {"one", "other"}
    for extractor in extractors:
        assert sum(extractor.batches) == 100
        assert max(extractor.batches) <= 15
        assert torch.equal(readings[extractor.card.key].features, extractor.features(images))
    assert readings["other"].score is None


def test_readings_do_not_depend_on_how_the_stream_is_cut() -> None:
    images = np.random.default_rng(0).integers(0, 256, (90, 4, 4, 1), dtype=np.uint8)
    labels = torch.arange(90) % 6
    whole, cut = (
        read_images([PixelExtractor(2, 6)], chunks, 90, seed=3)["pixels"]
        for chunks in ([(images, labels)], zip(np.split(images, 9), labels.split(10), strict=True))
    )
    assert whole.accuracy == cut.accuracy
    assert whole.score is not None
    assert cut.score is not None
    assert whole.score.mean == pytest.approx(cut.score.mean)
    assert torch.equal(whole.features, cut.features)


def test_top_1_and_top_5_count_the_intended_class_among_the_first() -> None:
    images = np.array([60, 50, 40, 30, 20, 10], dtype=np.uint8).reshape(1, 2, 3, 1).repeat(4, axis=0)
    chunks = [(images, torch.tensor([0, 1, 4, 5]))]
    assert read_images([PixelExtractor(2, 6)], chunks, 4, seed=0)["pixels"].accuracy == Accuracy(1 / 4, 3 / 4)


@pytest.mark.parametrize(("labels", "knows_classes"), [(None, True), (torch.zeros(20, dtype=torch.int64), False)])
def test_no_accuracy_without_an_intended_class_or_with_foreign_classes(
    labels: torch.Tensor | None, knows_classes: bool
) -> None:
    extractor = PixelExtractor(2, 3, knows_classes=knows_classes)
    reading = read_images([extractor], [(numbered_images(20), labels)], 20, seed=0)["pixels"]
    assert reading.accuracy is None
    assert reading.score is not None


def test_fewer_images_than_splits_are_a_split_each() -> None:
    score = read_images([PixelExtractor(2, 3)], [(numbered_images(4), None)], 4, seed=0)["pixels"].score
    assert score is not None
    assert score.mean == pytest.approx(1)  # a single image does not diverge from itself
