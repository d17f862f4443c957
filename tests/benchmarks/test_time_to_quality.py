"""Seconds until a distance, on journals whose numbers are known."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import pytest
from time_to_quality import distances_for, parse, plot, report, seconds_to, table

import ctfgan
from ctfgan.core.errors import RunError
from ctfgan.reports.curves import history_of
from ctfgan.reports.run_results import RunResult

SLOW = [(10.0, 90.0), (20.0, 45.0), (30.0, 60.0), (40.0, 40.0), (50.0, 39.0)]
FAST = [(2.0, 80.0), (4.0, 60.0), (6.0, 44.0), (16.0, 20.0), (26.0, 21.0)]


def run(recipe: str, checks: list[tuple[float, float]], extractor: str = "r-1") -> RunResult:
    """A run with checks of (seconds, distance); CTF-GAN's first two belong to its first stage."""
    stages = ["transfer"] * 2 + ["generate"] * 9 if recipe.startswith("ctf") else ["adversarial"] * 11
    lines = [
        {"event": "check", "stage": stage, "step": step, "seconds": seconds, "distance": distance, "top_1": 0.5}
        for step, (stage, (seconds, distance)) in enumerate(zip(stages, checks, strict=False), start=1)
    ]
    data = {"counts": {"classes": 4, "high_quality": 9, "low_quality": 3}, "extractor": extractor,
            "device": "cpu, 1 thread", "processor": "P"}  # fmt: skip
    return RunResult(Path(recipe), ctfgan.recipe(recipe), data, history_of(lines), None)


def test_a_row_says_when_each_run_comes_to_a_distance_and_when_it_stays_there() -> None:
    runs = [run("projection-folders", SLOW), run("ctf-folders", FAST)]
    assert table(runs, [50.0, 39.0, 20.0, 1.0]).rows == [
        ("50", "20.0", "6.0", "3.33", "40.0", "6.0", "6.67"),
        ("39", "50.0", "16.0", "3.12", "50.0", "16.0", "3.12"),
        ("20", "never", "16.0", "-", "never", "never", "-"),
        ("1", "never", "never", "-", "never", "never", "-"),
    ]


def test_seconds_to_a_distance_are_those_of_a_search_through_all_checks() -> None:
    rng = random.Random(0)
    for _ in range(200):
        checks = [(float(at), rng.choice([1.0, 2.0, 3.0])) for at in range(1, rng.randint(2, 7))]
        history = run("projection-folders", checks).history
        for distance in (0.5, 1.0, 2.0, 3.0):
            first = [at for at, found in checks if found <= distance]
            later = [at for at, _ in checks if max(found for then, found in checks if then >= at) <= distance]
            assert seconds_to(history, distance) == (min(first, default=None), min(later, default=None))


def test_chosen_distances_fall_in_equal_ratios_to_the_nearest_that_both_come_to() -> None:
    histories = [run("projection-folders", SLOW).history, run("ctf-folders", FAST).history]
    chosen = distances_for(histories)
    assert (chosen[0], chosen[-1]) == (80.0, 39.0)
    ratios = [after / before for before, after in itertools.pairwise(chosen)]
    assert ratios == pytest.approx([(39 / 80) ** 0.25] * 4)
    assert all(seconds_to(history, distance)[0] for history in histories for distance in chosen)


def test_runs_of_different_recognisers_are_refused_and_those_of_one_are_drawn() -> None:
    runs = [run("projection-folders", SLOW), run("ctf-folders", FAST)]
    shown = report(runs, [])
    assert len(shown.tables[0].rows) == 5
    assert shown.values["checks"]["ctf-folders"][3] == [16.0, 20.0, 0.5]
    assert plot(runs).startswith(b"\x89PNG")
    with pytest.raises(RunError, match="different recognisers"):
        report([runs[0], run("ctf-folders", FAST, extractor="r-2")], [])


def test_options_are_for_both_recipes_or_for_one() -> None:
    asked = parse(["runs", "--options", "--hq x", "--of", "ctf-folders", "--lq 'my y'", "--distances", "9,4"])
    assert (asked.options, asked.of, asked.distances) == ("--hq x", [["ctf-folders", "--lq 'my y'"]], "9,4")
