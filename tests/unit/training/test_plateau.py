from __future__ import annotations

from ctfgan.training.settings import CheckSettings
from ctfgan.training.stage import EarlyStopping

CHECKS = CheckSettings(smoothing=1, significant=0.01)


def reached(distances: list[float], patience: int | None, checks: CheckSettings = CHECKS) -> list[bool]:
    early_stopping = EarlyStopping(checks, patience)
    found = []
    for distance in distances:
        early_stopping.observe(distance)
        found.append(early_stopping.is_reached)
    return found


def test_a_stage_goes_on_while_the_distance_falls_by_more_than_one_percent() -> None:
    assert not any(reached([100 * 0.98**k for k in range(30)], patience=2))


def test_a_stage_ends_after_patience_checks_without_a_significant_improvement() -> None:
    assert reached([100, 99.5, 99.4, 99.3], patience=3) == [False, False, False, True]


def test_a_significant_improvement_starts_the_count_anew() -> None:
    assert reached([100, 100, 90, 90, 90], patience=2) == [False, False, False, False, True]


def test_without_patience_nothing_ends_a_stage_early() -> None:
    assert not any(reached([5.0] * 50, patience=None))


def test_smoothing_keeps_one_lucky_check_from_ending_a_stage_that_improves() -> None:
    distances = [100, 90, 96, 92, 88, 84, 80]
    assert any(reached(distances, patience=2))
    assert not any(reached(distances, patience=2, checks=CheckSettings(smoothing=3, significant=0.01)))
