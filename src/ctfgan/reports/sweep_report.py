"""A sweep as one plot and one table."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from ctfgan.evaluation import FLOOR
from ctfgan.evaluation.sweeps import Sweep, SweepPoint
from ctfgan.metrics.features import EVAL_CLASSIFIER
from ctfgan.reports.comparison import RunGroup, equal_blocks, warnings
from ctfgan.reports.curves import as_png, scale_distances
from ctfgan.reports.document import Heading, Items, Paragraph, Picture, TableBlock, TextBlock
from ctfgan.reports.run_results import RunOutcome, RunResult, spread

PANELS = (("frechet", "Frechet distance\n(recogniser features, lower is better)"),
          ("top_1", "top-1 of the recogniser\n(higher is better)"))  # fmt: skip
PointOutcome = RunOutcome[SweepPoint]


def sweep_report(sweep: Sweep, outcomes: Sequence[PointOutcome], picture: Path, command: str) -> list[TextBlock]:
    """The report of a sweep; its picture is written beside it."""
    rows = []
    for series, x in _places(outcomes):
        runs = _runs(outcomes, series, x)
        cells = [_cell(runs, name, form) for name, form in (("frechet", ".2f"), ("top_1", ".1%"), ("kernel", ".4f"))]
        counts = runs[0].images if runs else ""
        steps = f"{statistics.fmean(run.steps for run in runs):,.0f}" if runs else ""
        rows.append((series, str(x), *cells, counts, steps, str(len(runs))))
    blocks: list[TextBlock] = [
        Heading(f"Sweep {sweep.name}: {sweep.axis}", 1),
        Paragraph(f"Command: {command}"),
        Picture(picture, f"{sweep.name}; dotted: real images against real images"),
        TableBlock(
            ("series", sweep.axis, "Frechet distance ↓", "top-1 ↑", "kernel distance ↓", "HQ + LQ", "steps", "runs"),
            tuple(rows),
        ),
    ]
    notes = warnings([outcome.result for outcome in outcomes if outcome.result])
    if notes:
        blocks.append(Items(tuple(f"Not comparable: {note}." for note in notes)))
    reasons = [f"{outcome.place.name}: not run: {outcome.why_not}." for outcome in outcomes if outcome.why_not]
    if reasons:
        blocks.append(Items(tuple(reasons)))
    blocks += equal_blocks(run_groups(outcomes))
    first = next((outcome.result for outcome in outcomes if outcome.result), None)
    if first is not None:
        blocks += [Heading("Protocol of the first run", 3), Paragraph(first.metrics["protocol_sentence"])]
    return blocks


def run_groups(outcomes: Sequence[PointOutcome]) -> list[RunGroup]:
    """The places that have runs, each with those of all its seeds."""
    is_single = len({outcome.place.series for outcome in outcomes}) == 1
    runs = {(series, x): _runs(outcomes, series, x) for series, x in _places(outcomes)}
    return [
        RunGroup(str(x) if is_single else f"{series}, {x}", tuple(group))
        for (series, x), group in runs.items()
        if group
    ]


def plot(sweep: Sweep, outcomes: Sequence[PointOutcome]) -> bytes:
    """Distance and top-1 over the axis, a line for each series (bars where the axis is no number); a PNG."""
    figure = Figure(figsize=(11, 4.4), layout="constrained")
    axes = figure.subplots(1, 2)
    numeric = all(isinstance(outcome.place.x, float) for outcome in outcomes)
    for axis, (name, label) in zip(axes, PANELS, strict=True):
        (_lines if numeric else _bars)(axis, outcomes, name)
        floors = [_floor(outcome.result, name) for outcome in outcomes if outcome.result]
        if floors:
            axis.axhline(statistics.fmean(floors), color="grey", linestyle=":", linewidth=1)
        axis.set(ylabel=label, xlabel=sweep.axis if numeric else "")
        axis.grid(alpha=0.3)
    scale_distances(axes[0])
    axes[1].yaxis.set_major_formatter(PercentFormatter(1))
    if len({outcome.place.series for outcome in outcomes}) > 1:
        axes[0].legend(fontsize="small")
    return as_png(figure)


def _lines(axis: Axes, outcomes: Sequence[PointOutcome], name: str) -> None:
    for series in dict.fromkeys(outcome.place.series for outcome in outcomes):
        places = sorted(
            {float(outcome.place.x) for outcome in outcomes if outcome.place.series == series and outcome.result}
        )
        means, deviations = _means(outcomes, [(series, x) for x in places], name)
        axis.errorbar(places, means, deviations, marker="o", capsize=3, label=series)


def _bars(axis: Axes, outcomes: Sequence[PointOutcome], name: str) -> None:
    places = list(dict.fromkeys((outcome.place.series, outcome.place.x) for outcome in outcomes if outcome.result))
    means, deviations = _means(outcomes, places, name)
    axis.bar([str(x) for _, x in places], means, yerr=deviations, capsize=3)
    axis.tick_params(axis="x", rotation=25)


def _means(
    outcomes: Sequence[PointOutcome], places: Sequence[tuple[str, float | str]], name: str
) -> tuple[list[float], list[float]]:
    """Means over the runs of each place, and standard deviations, 0 for a single run."""
    values = [[_value(run, name) for run in _runs(outcomes, *place)] for place in places]
    return [statistics.fmean(v) for v in values], [statistics.stdev(v) if len(v) > 1 else 0.0 for v in values]


def _places(outcomes: Sequence[PointOutcome]) -> list[tuple[str, float | str]]:
    return list(dict.fromkeys((outcome.place.series, outcome.place.x) for outcome in outcomes))


def _runs(outcomes: Sequence[PointOutcome], series: str, x: float | str) -> list[RunResult]:
    return [
        outcome.result
        for outcome in outcomes
        if (outcome.place.series, outcome.place.x) == (series, x) and outcome.result
    ]


def _value(run: RunResult, name: str) -> float:
    return float(run.metrics["rows"][run.metrics["reported_set"]][EVAL_CLASSIFIER][name])


def _floor(run: RunResult, name: str) -> float:
    return float(run.metrics["rows"][FLOOR][EVAL_CLASSIFIER][name])


def _cell(runs: Sequence[RunResult], name: str, form: str) -> str:
    if not runs:
        return "not run"
    return spread([_value(run, name) for run in runs], form)
