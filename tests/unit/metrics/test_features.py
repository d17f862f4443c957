from __future__ import annotations

import numpy as np
import pytest
import torch

from ctfgan.metrics.features import Accuracy, extract_features
from tests.unit.metrics.extractors import PixelExtractor, numbered_images


def test_every_extractor_sees_every_image_once_in_the_chunks_that_come() -> None:
    images = numbered_images(100)
    extractors = [PixelExtractor(2, 3, "one"), PixelExtractor(5, 0, "other")]
    readings = extract_features(extractors, ((part, None) for part in np.array_split(images, 7)), 100, seed=0)
    assert set(readings) == {"one", "other"}
    for extractor in extractors:
        assert sum(extractor.batches) == 100
        assert max(extractor.batches) <= 15
        assert torch.equal(readings[extractor.card.key].features, extractor.features(images))
    assert readings["other"].score is None


def test_readings_do_not_depend_on_how_the_stream_is_cut() -> None:
    images = np.random.default_rng(0).integers(0, 256, (900, 4, 4, 1), dtype=np.uint8)
    labels = torch.arange(900) % 6
    whole, cut = (
        extract_features([PixelExtractor(2, 6)], chunks, 900, seed=3)["pixels"]
        for chunks in ([(images, labels)], zip(np.split(images, 9), labels.split(100), strict=True))
    )
    assert whole.accuracy == cut.accuracy
    assert whole.score is not None
    assert cut.score is not None
    assert whole.score.mean == pytest.approx(cut.score.mean)
    assert torch.equal(whole.features, cut.features)


def test_top_1_and_top_5_count_the_intended_class_among_the_first() -> None:
    images = np.array([60, 50, 40, 30, 20, 10], dtype=np.uint8).reshape(1, 2, 3, 1).repeat(4, axis=0)
    chunks = [(images, torch.tensor([0, 1, 4, 5]))]
    assert extract_features([PixelExtractor(2, 6)], chunks, 4, seed=0)["pixels"].accuracy == Accuracy(1 / 4, 3 / 4)


@pytest.mark.parametrize(("labels", "knows_classes"), [(None, True), (torch.zeros(20, dtype=torch.int64), False)])
def test_no_accuracy_without_an_intended_class_or_with_foreign_classes(
    labels: torch.Tensor | None, knows_classes: bool
) -> None:
    extractor = PixelExtractor(2, 3, knows_classes=knows_classes)
    reading = extract_features([extractor], [(numbered_images(20), labels)], 20, seed=0)["pixels"]
    assert reading.accuracy is None


def test_a_score_wants_fifty_images_in_each_of_ten_splits() -> None:
    images = np.random.default_rng(0).integers(0, 256, (500, 4, 4, 1), dtype=np.uint8)
    for count, too_few in ((499, True), (500, False)):
        reading = extract_features([PixelExtractor(2, 3)], [(images[:count], None)], count, seed=0)["pixels"]
        assert reading.too_few_for_score is too_few
        assert (reading.score is None) is too_few


def test_top_1_is_a_mean_over_the_classes_that_occur() -> None:
    images = np.array([60, 50, 40, 30, 20, 10], dtype=np.uint8).reshape(1, 2, 3, 1).repeat(10, axis=0)
    labels = torch.tensor([0] * 7 + [1, 1, 5])  # the extractor says 0 to all, with 1 among its first five
    assert extract_features([PixelExtractor(2, 6)], [(images, labels)], 10, seed=0)["pixels"].accuracy == Accuracy(
        pytest.approx(1 / 3), pytest.approx(2 / 3)
    )


def test_classes_that_stand_apart_have_means_of_their_own() -> None:
    images = np.array([60, 50, 40, 30, 20, 10], dtype=np.uint8).reshape(1, 2, 3, 1).repeat(10, axis=0)
    chunks = [(images, torch.tensor([0] * 4 + [1] * 3 + [5] * 3))]  # 0 to all, with all but 5 among the first five
    found = extract_features([PixelExtractor(2, 6)], chunks, 10, seed=0, lq_only=(1, 5, 3))["pixels"].accuracy
    assert found == Accuracy(1.0, 1.0, top_1_lq_only=0.0, top_5_lq_only=0.5)
    other = extract_features([PixelExtractor(2, 6)], chunks, 10, seed=0, lq_only=(0, 1, 5))["pixels"].accuracy
    assert other == Accuracy(None, None, pytest.approx(1 / 3), pytest.approx(2 / 3))


def test_images_after_the_counted_ones_reach_the_accuracy_alone() -> None:
    images = np.random.default_rng(0).integers(0, 256, (1_200, 4, 4, 1), dtype=np.uint8)
    labels = torch.arange(1_200) % 6
    chunks = zip(np.split(images, 12), labels.split(100), strict=True)
    part = extract_features([PixelExtractor(2, 6)], chunks, 550, seed=0)["pixels"]
    counted = extract_features([PixelExtractor(2, 6)], [(images[:550], labels[:550])], 550, seed=0)["pixels"]
    whole = extract_features([PixelExtractor(2, 6)], [(images, labels)], 1_200, seed=0)["pixels"]
    assert torch.equal(part.features, counted.features)
    assert part.score is not None
    assert counted.score is not None
    assert part.score.mean == pytest.approx(counted.score.mean)
    assert part.accuracy == whole.accuracy
