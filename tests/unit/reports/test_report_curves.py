from __future__ import annotations

import json
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from ctfgan.reports.curves import (
    MOST_POINTS,
    TrainingHistory,
    _thinned,
    as_svg,
    check_plots,
    draw_checks,
    history_of,
    loss_plots,
)
from ctfgan.storage.journal import Journal

LINES = [
    {"event": "step", "stage": "transfer", "step": 5, "seconds": 1.0, "generator_box": 0.5},
    {"event": "check", "stage": "transfer", "step": 10, "seconds": 2.0, "distance": 90.0, "top_1": 0.25},
    {"event": "stage-end", "stage": "transfer", "step": 10, "reason": "enough"},
    {"event": "alarm", "stage": "generate", "step": 3, "message": "D wins"},
    {"event": "step", "stage": "generate", "step": 5, "seconds": 5.0, "generator_box": 0.4, "extra": 7},
    {"event": "check", "stage": "generate", "step": 20, "seconds": 12.0, "distance": 30.0, "top_1": None},
]


def test_steps_and_seconds_run_on_over_the_stages() -> None:
    history = history_of(LINES)
    assert [(point.steps, point.seconds) for point in history.steps] == [(5, 1.0), (15, 5.0)]
    assert [(point.steps, point.seconds) for point in history.checks] == [(10, 2.0), (30, 12.0)]
    assert [(point.steps, point.seconds) for point in history.switches] == [(10, 2.0)]
    assert [(s.name, s.steps, s.seconds, s.checks, s.ended) for s in history.stages] == [
        ("transfer", 10, 2.0, 1, "enough"),
        ("generate", 20, 10.0, 1, None),
    ]
    assert (history.generator_steps, history.seconds) == (30, 12.0)


def test_what_it_does_not_know_is_kept_and_moves_nothing() -> None:
    strange = {"event": "check", "stage": "generate", "step": "many", "seconds": 1.0, "distance": 1.0}
    history = history_of([*LINES, {"event": "rollback"}, strange])
    assert [line["event"] for line in history.others] == ["alarm", "rollback", "check"]
    assert history.checks == history_of(LINES).checks


def test_there_is_a_plot_for_each_term_and_two_for_each_figure() -> None:
    history = history_of(LINES)
    assert [plot.alt.split(" of ")[0] for plot in loss_plots(history, "x")] == ["generator_box", "extra"]
    assert "last value 0.4" in loss_plots(history, "x")[0].alt
    plots = check_plots([("x", history), ("empty", history_of([]))])
    assert len(plots) == 4
    assert "x from 90.00 to 30.00; empty has no check" in plots[0].alt
    assert all(plot.content.startswith(b"<?xml") and plot.is_plot for plot in plots)
    assert check_plots([("empty", history_of([]))]) == ()


def test_the_same_curves_are_the_same_file() -> None:
    first, second = (check_plots([("x", history_of(LINES))]) for _ in range(2))
    assert [plot.content for plot in first] == [plot.content for plot in second]


@pytest.mark.parametrize("label", ["_hidden", "$x$ y", "漢字", "a<b>&", "", "\t"])
def test_any_name_of_a_run_can_stand_in_a_legend(label: str) -> None:
    figure = Figure()
    axis = figure.subplots()
    draw_checks(axis, [(label, history_of(LINES))] * 2, "distance", "steps")
    axis.legend()
    assert as_svg(figure)
    assert len(axis.get_legend().get_texts()) == 2


def test_long_curves_are_thinned_to_means() -> None:
    places = [float(n) for n in range(10 * MOST_POINTS)]
    thin, values = _thinned(places, [2 * place for place in places])
    assert len(thin) == MOST_POINTS
    assert values == [2 * place for place in thin]
    assert thin[0] == 4.5
    assert _thinned([1.0], [2.0]) == ([1.0], [2.0])


def test_lines_of_a_journal_that_are_damaged_are_counted_and_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    good = [json.dumps(line).encode() for line in LINES]
    broken = [b"\x00\x00\x00", b"\xff\xfe{", b"[1]", b'{"no": "event"}', b'{"event": "ste']
    path.write_bytes(b"\n".join([*good[:3], *broken, *good[3:]]) + b"\n" + good[0][:20])
    assert Journal(path).readable() == (LINES, len(broken))
    assert Journal(tmp_path / "none").readable() == ([], 0)


def test_a_plot_says_nothing_of_when_and_where_it_was_made() -> None:
    content = as_svg(Figure()).decode()
    assert "<dc:date>" not in content
    assert isinstance(history_of([]), TrainingHistory)
