from __future__ import annotations

import torch

from ctfgan.metrics.scores import ClassReference, measurable_classes


def test_classes_are_spread_over_those_with_enough_real_images() -> None:
    labels = torch.arange(10).repeat_interleave(torch.tensor([50, 49, 50, 50, 10, 50, 50, 0, 50, 60]))
    assert measurable_classes(labels, 10, 100) == [0, 2, 3, 5, 6, 8, 9]
    assert measurable_classes(labels, 10, 3) == [0, 5, 9]
    assert measurable_classes(labels, 10, 0) == []
    assert measurable_classes(torch.arange(10), 10, 5) == []


def test_the_floor_compares_rows_of_the_same_class() -> None:
    labels = torch.arange(120) % 2
    features = {"own": torch.randn(120, 3, generator=torch.Generator().manual_seed(0)) + 100 * labels[:, None]}
    reference = ClassReference(features, labels, ("a", "b"), wanted=2)
    floor = reference.floor(torch.arange(60), torch.arange(60, 120))["own"]
    assert set(floor.distances) == {"a", "b"}
    assert floor.mean < 2  # other classes are 30,000 away
    assert (floor.fake, floor.real, floor.too_few) == (30, 30, 0)


def test_measured_classes_with_low_quality_images_only_are_named() -> None:
    labels = torch.arange(180) % 3
    features = {"own": torch.randn(180, 3, generator=torch.Generator().manual_seed(0))}
    rows = torch.arange(90), torch.arange(90, 180)
    assert ClassReference(features, labels, ("a", "b", "c"), 2, {1, 2}).floor(*rows)["own"].lq_only == ("c",)
    assert ClassReference(features, labels, ("a", "b", "c"), 3).floor(*rows)["own"].lq_only == ()
