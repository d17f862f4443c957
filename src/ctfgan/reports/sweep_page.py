"""A sweep as one plot and one table."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from ctfgan.evaluation import FLOOR
from ctfgan.evaluation.sweeps import Point, Sweep
from ctfgan.metrics.features import EVAL_CLASSIFIER
from ctfgan.reports.comparison import Measured, RunResult, as_png, warnings
from ctfgan.reports.curves import scale_distances
from ctfgan.reports.equal import Arm, equal_blocks
from ctfgan.reports.markdown import Block, Heading, Items, Paragraph, Picture, TableBlock
from ctfgan.reports.plots_of_metrics import spread

PANELS = (("frechet", "Frechet distance\n(recogniser features, lower is better)"),
          ("top_1", "top-1 of the recogniser\n(higher is better)"))  # fmt: skip


PointOutcome = Measured[Point]


def sweep_report(sweep: Sweep, measured: Sequence[PointOutcome], picture: Path, command: str) -> list[Block]:
    """The report of a sweep; its picture is written beside it."""
    rows = []
    for series, x in _places(measured):
        runs = _runs(measured, series, x)
        cells = [_cell(runs, name, form) for name, form in (("frechet", ".2f"), ("top_1", ".1%"), ("kernel", ".4f"))]
        counts = runs[0].images if runs else ""
        steps = f"{statistics.fmean(run.steps for run in runs):,.0f}" if runs else ""
        rows.append((series, str(x), *cells, counts, steps, str(len(runs))))
    blocks: list[Block] = [
        Heading(f"Sweep {sweep.name}: {sweep.axis}", 1),
        Paragraph(f"Command: {command}"),
        Picture(picture, f"{sweep.name}; dotted: real images against real images"),
        TableBlock(
            ("series", sweep.axis, "Frechet distance ↓", "top-1 ↑", "kernel distance ↓", "HQ + LQ", "steps", "runs"),
            tuple(rows),
        ),
    ]
    notes = warnings([found.result for found in measured if found.result])
    if notes:
        blocks.append(Items(tuple(f"Not comparable: {note}." for note in notes)))
    reasons = [f"{found.place.cell.name}: not run: {found.why_not}." for found in measured if found.why_not]
    if reasons:
        blocks.append(Items(tuple(reasons)))
    blocks += equal_blocks(arms(measured))
    first = next((found.result for found in measured if found.result), None)
    if first is not None:
        blocks += [Heading("Protocol of the first run", 3), Paragraph(first.measured["protocol_sentence"])]
    return blocks


def arms(measured: Sequence[PointOutcome]) -> list[Arm]:
    """The places that have runs, each with those of all its seeds."""
    is_single = len({found.place.series for found in measured}) == 1
    found = {(series, x): _runs(measured, series, x) for series, x in _places(measured)}
    return [Arm(str(x) if is_single else f"{series}, {x}", tuple(runs)) for (series, x), runs in found.items() if runs]


def plot(sweep: Sweep, measured: Sequence[PointOutcome]) -> bytes:
    """Distance and top-1 over the axis, a line for each series (bars where the axis is no number); a PNG."""
    figure = Figure(figsize=(11, 4.4), layout="constrained")
    axes = figure.subplots(1, 2)
    numeric = all(isinstance(found.place.x, float) for found in measured)
    for axis, (name, label) in zip(axes, PANELS, strict=True):
        (_lines if numeric else _bars)(axis, measured, name)
        floors = [_floor(found.result, name) for found in measured if found.result]
        if floors:
            axis.axhline(statistics.fmean(floors), color="grey", linestyle=":", linewidth=1)
        axis.set(ylabel=label, xlabel=sweep.axis if numeric else "")
        axis.grid(alpha=0.3)
    scale_distances(axes[0])
    axes[1].yaxis.set_major_formatter(PercentFormatter(1))
    if len({found.place.series for found in measured}) > 1:
        axes[0].legend(fontsize="small")
    return as_png(figure)


def _lines(axis: Axes, measured: Sequence[PointOutcome], name: str) -> None:
    for series in dict.fromkeys(found.place.series for found in measured):
        places = sorted({float(found.place.x) for found in measured if found.place.series == series and found.result})
        means, deviations = _means(measured, [(series, x) for x in places], name)
        axis.errorbar(places, means, deviations, marker="o", capsize=3, label=series)


def _bars(axis: Axes, measured: Sequence[PointOutcome], name: str) -> None:
    places = list(dict.fromkeys((found.place.series, found.place.x) for found in measured if found.result))
    means, deviations = _means(measured, places, name)
    axis.bar([str(x) for _, x in places], means, yerr=deviations, capsize=3)
    axis.tick_params(axis="x", rotation=25)


def _means(
    measured: Sequence[PointOutcome], places: Sequence[tuple[str, float | str]], name: str
) -> tuple[list[float], list[float]]:
    """Means over the runs of each place, and standard deviations, 0 for a single run."""
    values = [[_value(run, name) for run in _runs(measured, *place)] for place in places]
    return [statistics.fmean(v) for v in values], [statistics.stdev(v) if len(v) > 1 else 0.0 for v in values]


def _places(measured: Sequence[PointOutcome]) -> list[tuple[str, float | str]]:
    return list(dict.fromkeys((found.place.series, found.place.x) for found in measured))


def _runs(measured: Sequence[PointOutcome], series: str, x: float | str) -> list[RunResult]:
    return [found.result for found in measured if (found.place.series, found.place.x) == (series, x) and found.result]


def _value(run: RunResult, name: str) -> float:
    return float(run.measured["rows"][run.measured["reported_set"]][EVAL_CLASSIFIER][name])


def _floor(run: RunResult, name: str) -> float:
    return float(run.measured["rows"][FLOOR][EVAL_CLASSIFIER][name])


def _cell(runs: Sequence[RunResult], name: str, form: str) -> str:
    if not runs:
        return "not run"
    return spread([_value(run, name) for run in runs], form)
