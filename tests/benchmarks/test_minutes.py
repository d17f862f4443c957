from __future__ import annotations

from pathlib import Path

import pytest
from minutes import TimedRun, plot, table, timed_run

from ctfgan.core.errors import ConfigError


def run(images: str, minutes: float, distance: float) -> TimedRun:
    return TimedRun(
        images, minutes, 1_000, {"frechet": distance, "top_1": 0.5, "recall": 0.25},
        {"frechet": 1.0, "top_1": 0.9, "recall": 0.8},
    )  # fmt: skip


def test_a_line_of_the_table_is_a_run_and_a_line_of_the_plot_a_set() -> None:
    runs = [run("a.npz", 20, 7.0), run("a.npz", 5, 9.5), run("b.npz", 5, 30.0)]
    assert table(runs).splitlines()[2:] == [
        "| a.npz | 20 | 1,000 | 7.0 | 50.0 % | 0.25 |",
        "| a.npz | 5 | 1,000 | 9.5 | 50.0 % | 0.25 |",
        "| b.npz | 5 | 1,000 | 30.0 | 50.0 % | 0.25 |",
    ]
    distances = plot(runs).axes[0]
    drawn = [line.get_xydata().tolist() for line in distances.lines if line.get_linestyle() == "-"]
    assert drawn == [[[5, 9.5], [20, 7.0]], [[5, 30.0]]]


def test_a_run_without_minutes_is_refused(finished_run: Path) -> None:
    with pytest.raises(ConfigError, match="was given no minutes; train it with --minutes"):
        timed_run(finished_run)
