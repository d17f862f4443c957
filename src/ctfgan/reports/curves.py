"""What a run's journal tells over time, on one axis of generator steps over all stages; and how that is drawn."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Literal

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from ctfgan.data.images import drawable
from ctfgan.reports.document import Embedded

JournalLine = dict[str, Any]
"""A line of a journal."""

XAxis = Literal["steps", "seconds"]

DRAWN_EVENTS = {
    "step": ("stage", "step", "seconds"),
    "check": ("stage", "step", "seconds", "distance"),
    "stage-end": ("stage", "step"),
}
"""Events that are drawn, with what they must say."""

AXES: dict[XAxis, str] = {"steps": "generator steps over all stages", "seconds": "training time in seconds"}
CHECK_METRICS = {
    "distance": "Frechet distance to training images\n(recogniser features, lower is better)",
    "top_1": "top-1 of the recogniser\n(higher is better)",
    "top_1_lq_only": "top-1 of classes with LQ images only\n(higher is better)",
}
MOST_POINTS = 500  # of a curve; where there are more, neighbours are averaged


@dataclass(frozen=True)
class CurvePoint:
    """A line of a journal, with where it stands."""

    line: JournalLine
    steps: int
    """Generator steps over all stages."""
    seconds: float
    """Of training, without checks."""

    def at(self, over: XAxis) -> float:
        """Its place on an axis."""
        return self.steps if over == "steps" else self.seconds


@dataclass(frozen=True)
class StageTime:
    """What training a stage took."""

    name: str
    steps: int
    seconds: float
    checks: int
    ended: str | None
    """Why; None if it has not."""


@dataclass(frozen=True)
class TrainingHistory:
    """What a run did, by its journal."""

    steps: tuple[CurvePoint, ...]
    checks: tuple[CurvePoint, ...]
    switches: tuple[CurvePoint, ...]
    """The last known point of each stage that was followed by another."""
    stages: tuple[StageTime, ...]
    others: tuple[JournalLine, ...]
    """Lines of all other events, in order."""

    @property
    def generator_steps(self) -> int:
        """Over all stages, as far as the journal tells."""
        return sum(stage.steps for stage in self.stages)

    @property
    def seconds(self) -> float:
        """Of training, without checks."""
        return sum(stage.seconds for stage in self.stages)


def history_of(lines: Iterable[JournalLine]) -> TrainingHistory:
    """The history of a run from its journal; known events that do not say what they must count as others."""
    steps, checks, switches, others = [], [], [], []
    stages: list[StageTime] = []
    before, now = 0, CurvePoint({}, 0, 0.0)
    for line in lines:
        if not _is_known(line):
            others.append(line)
            continue
        if not stages or line["stage"] != stages[-1].name:
            if stages:
                switches.append(now)
            before = now.steps
            stages.append(StageTime(line["stage"], 0, 0.0, 0, None))
            began = now.seconds
        now = CurvePoint(line, before + line["step"], float(line.get("seconds", now.seconds)))
        if line["event"] == "step":
            steps.append(now)
        elif line["event"] == "check":
            checks.append(now)
        last, is_check = stages[-1], line["event"] == "check"
        stages[-1] = StageTime(
            last.name, line["step"], now.seconds - began, last.checks + is_check, line.get("reason", last.ended)
        )
    return TrainingHistory(tuple(steps), tuple(checks), tuple(switches), tuple(stages), tuple(others))


def _is_known(line: JournalLine) -> bool:
    needed = DRAWN_EVENTS.get(line["event"])
    if needed is None or not all(name in line for name in needed):
        return False
    return all(name == "stage" or isinstance(line[name], int | float) for name in needed)


def loss_plots(history: TrainingHistory, label: str) -> tuple[Embedded, ...]:
    """A small plot for each term of the losses and each other reading of the journal."""
    known = {"event", "stage", "step", "seconds"}
    names = dict.fromkeys(name for point in history.steps for name in point.line if name not in known)
    plots = []
    for name in names:
        points = [point for point in history.steps if isinstance(point.line.get(name), int | float)]
        figure = Figure(figsize=(4.6, 2.5), layout="constrained")
        axis = figure.subplots()
        places, values = _thinned([m.at("steps") for m in points], [float(m.line[name]) for m in points])
        axis.plot(places, values, linewidth=1.2)
        _mark(axis, history, "steps", "grey")
        axis.set_title(name.replace("_", " ", 1).replace("_", "-"), fontsize="medium")
        _tidy(axis, "steps")
        alt = f"{name} of {label} over {AXES['steps']}; last value {values[-1]:.4g}" if values else f"no {name}"
        plots.append(Embedded(as_svg(figure), alt, "", is_plot=True))
    return tuple(plots)


def check_plots(histories: Sequence[tuple[str, TrainingHistory]]) -> tuple[Embedded, ...]:
    """Distance and top-1 of the checks over generator steps and over training time, the stage switches dotted."""
    plots = []
    for name, meaning in CHECK_METRICS.items():
        if not any(_with(history, name) for _, history in histories):
            continue
        for over, axis_name in AXES.items():
            figure = Figure(figsize=(5.6, 3.4), layout="constrained")
            axis = figure.subplots()
            draw_checks(axis, histories, name, over)
            axis.set_ylabel(meaning)
            if len(histories) > 1:
                axis.legend(fontsize="small")
            alt = f"{meaning} over {axis_name}: {'; '.join(_ends(run, history, name) for run, history in histories)}"
            plots.append(Embedded(as_svg(figure), alt.replace("\n", " "), "", is_plot=True))
    return tuple(plots)


def draw_checks(axis: Axes, histories: Sequence[tuple[str, TrainingHistory]], name: str, over: XAxis) -> None:
    """Draw a figure of the checks, a curve for each run; distances on a logarithmic axis."""
    for number, (label, history) in enumerate(histories):
        points = _with(history, name)
        colour = f"C{number % 10}"
        places = [point.at(over) for point in points]
        axis.plot(places, [point.line[name] for point in points], marker=".", color=colour, label=drawable_label(label))
        _mark(axis, history, over, "grey" if len(histories) == 1 else colour)
    if name == "distance":
        scale_distances(axis)
    else:
        axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
    _tidy(axis, over)


def scale_distances(axis: Axes) -> None:
    """Make the axis of values logarithmic, with plain numbers at its marks."""
    axis.set_yscale("log")
    axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.yaxis.set_minor_formatter(NullFormatter())


def drawable_label(label: str) -> str:
    """A text as matplotlib can draw it: no formula, no letter that its font lacks, no leading underscore."""
    return "".join(drawable(label)).replace("$", r"\$").lstrip("_") or " "


def as_svg(figure: Figure) -> bytes:
    """A finished plot as an SVG without background; equal plots are equal files."""
    content = BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": "ctfgan"}):
        figure.savefig(content, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return content.getvalue()


def as_png(figure: Figure) -> bytes:
    """A finished plot as a PNG."""
    content = BytesIO()
    figure.savefig(content, format="png", dpi=110)
    return content.getvalue()


def _with(history: TrainingHistory, name: str) -> list[CurvePoint]:
    return [point for point in history.checks if isinstance(point.line.get(name), int | float)]


def _ends(run: str, history: TrainingHistory, name: str) -> str:
    points = _with(history, name)
    if not points:
        return f"{run} has no check"
    form = ".2f" if name == "distance" else ".1%"
    return f"{run} from {format(points[0].line[name], form)} to {format(points[-1].line[name], form)}"


def _mark(axis: Axes, history: TrainingHistory, over: XAxis, colour: str) -> None:
    for switch in history.switches:
        axis.axvline(switch.at(over), color=colour, linestyle=":", linewidth=1.2)


def _tidy(axis: Axes, over: XAxis) -> None:
    axis.set_xlabel(AXES[over])
    axis.grid(alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)


def _thinned(places: Sequence[float], values: Sequence[float]) -> tuple[list[float], list[float]]:
    """Means of as many neighbours as make 500 points or fewer."""
    size = -(-len(places) // MOST_POINTS)
    if size <= 1:
        return list(places), list(values)
    parts = [slice(start, start + size) for start in range(0, len(places), size)]
    return (
        [sum(places[part]) / len(places[part]) for part in parts],
        [sum(values[part]) / len(values[part]) for part in parts],
    )
