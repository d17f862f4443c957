from __future__ import annotations

import pytest
import torch

from ctfgan.models.synthesis import balanced_labels


@pytest.mark.parametrize(("count", "classes", "total"), [(10, 5, 10), (11, 5, 15), (5_000, 3_755, 7_510), (7, 7, 7)])
def test_every_class_gets_the_same_number_of_images(count: int, classes: int, total: int) -> None:
    labels = balanced_labels(count, classes)
    assert len(labels) == total
    assert torch.bincount(labels, minlength=classes).unique().numel() == 1


@pytest.mark.parametrize(("count", "classes"), [(2_000, 3_755), (16, 1_000_000), (3, 7)])
def test_fewer_images_than_classes_are_spread_over_all_of_them(count: int, classes: int) -> None:
    labels = balanced_labels(count, classes)
    assert len(labels) == len(labels.unique()) == count
    assert labels.min() == 0
    assert labels.max() >= classes - classes // count - 1
    assert labels.max() < classes
