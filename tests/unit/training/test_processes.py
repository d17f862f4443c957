"""Several processes with a share of the batch each follow one process with the whole batch (float64, gloo)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.unit.training.conftest import spawned

# Weights move by some 1e-3. Where a gradient is zero but for rounding (a bias before batch norm), Adam's quotient moves
# them by up to 1e-6; everything else agrees to 1e-12.
TOLERANCE = 2e-6

pytestmark = pytest.mark.slow  # processes that import torch anew


def test_two_processes_train_what_one_trains(two: list[dict[str, Any]]) -> None:
    """CTF-GAN in both stages with Task 3, batch norm, averages, augmentation, LeCam and R1."""
    for facts in two:
        for method in ("ctf", "projection", "in parts"):
            assert facts[method]["tensors"] > 50
            assert facts[method]["gap"] < TOLERANCE, method


def test_four_processes_train_what_one_trains(tmp_path: Path) -> None:
    for facts in spawned(4, tmp_path):
        assert facts["ctf"]["gap"] < TOLERANCE


def test_gradients_are_averaged_whatever_their_order_in_memory(two: list[dict[str, Any]]) -> None:
    assert all(facts["average"] == [[[1.5] * 3] * 2, [5.0] * 4] for facts in two)


def test_statistics_and_values_are_everybodys(two: list[dict[str, Any]]) -> None:
    assert all(facts["mean"] == [0.5, 1.0] for facts in two)
    assert all(facts["on main"] == 0 for facts in two)
    assert all(facts["all of"] == ["process 0", "process 1"] for facts in two)
    assert [facts["first"] for facts in two] == [0, 1]


def test_augmentation_is_steered_by_the_logits_of_all(two: list[dict[str, Any]]) -> None:
    """0.5 is above the target of 0.4, so 4 of 40 images raise the probability; -0.5 is below it."""
    assert all(facts["steered"] == pytest.approx([0.1, 0.0]) for facts in two)


def test_an_error_of_one_process_is_everybodys(two: list[dict[str, Any]]) -> None:
    assert all(facts["error of main"] == "of 0" for facts in two)
    assert all(facts["error of one"] == "of 1" for facts in two)


def test_a_request_to_stop_is_known_to_all_at_the_same_step(two: list[dict[str, Any]]) -> None:
    assert all(facts["votes"] == [0, 0, 15, 0] for facts in two)


def test_batch_norm_of_a_shared_batch_is_torchs_of_the_whole(two: list[dict[str, Any]]) -> None:
    for facts in two:
        assert facts["batch norm, affine True"] < 1e-12
        assert facts["batch norm, affine False"] < 1e-12


def test_images_made_together_are_those_that_one_process_makes(two: list[dict[str, Any]]) -> None:
    assert [facts["images"] for facts in two] == [0, 0]
