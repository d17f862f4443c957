"""Runs side by side: as they ended, at equal generator steps, and after equal seconds of training."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

from ctfgan.reports.curves import CHECK_METRICS, CurvePoint, XAxis, as_png, draw_checks
from ctfgan.reports.document import Heading, Items, Paragraph, TableBlock, TextBlock
from ctfgan.reports.run_results import RunResult, frechet, kernel, run_names, score, top_1, top_1_lq_only, top_5

HEADINGS = ("run", "method", "HQ", "LQ", "steps", "train s", "images", "on", "top-1", "top-5", "score", "Frechet",
            "kernel")  # fmt: skip
BASELINE = "sn-gan-projection"


def table(runs: list[RunResult]) -> list[tuple[str, ...]]:
    """Rows under :data:`HEADINGS`, one for each extractor on each set of images of each run; "not run" where nothing
    was measured.
    """
    rows: list[tuple[str, ...]] = []
    for name_of_run, run in zip(run_names(runs), runs, strict=True):
        known = (
            name_of_run,
            run.recipe.method.kind,
            f"{run.counts['high_quality']:,}",
            f"{run.counts['low_quality']:,}",
            f"{run.steps:,}",
            f"{run.seconds:,.0f}",
        )
        if run.figures is None:
            rows.append((*known, "not run: ctfgan evaluate", *[""] * 6))
            continue
        for name, row in run.figures["rows"].items():
            for key, metrics in row.items():
                lq_only = top_1_lq_only(metrics)
                both = f"{top_1(metrics)}, LQ only {lq_only}" if lq_only else top_1(metrics)
                cells = both, *(cell(metrics) for cell in (top_5, score, frechet, kernel))
                rows.append((*known, name, key, *cells))
    return rows


def warnings(runs: list[RunResult]) -> list[str]:
    """Why figures of these runs must not be compared, one sentence each."""
    names = {"real": "numbers of real images", "fake": "numbers of samples", "resolution": "resolutions",
             "reference": "references", "data_seed": "data splits",
             "lq_only": "numbers of classes with low-quality images only"}  # fmt: skip
    protocols = [run.figures["protocol"] for run in runs if run.figures]
    sentences = []
    for key in sorted({key for protocol in protocols for key in protocol["extractors"]}):
        values = sorted(
            {protocol["extractors"][key]["name"] for protocol in protocols if key in protocol["extractors"]}
        )
        if len(values) > 1:
            sentences.append(f"the runs were measured with different extractors ({', '.join(values)})")
    for field, what in names.items():
        values = sorted({str(protocol.get(field, 0)) for protocol in protocols})
        if len(values) > 1:
            sentences.append(f"the runs were measured with different {what} ({', '.join(values)})")
    return sentences


def plot(runs: list[RunResult]) -> bytes:
    """Distance at the checks over generator steps and over training time, the stage switch marked; a PNG."""
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    by_step, by_time = figure.subplots(1, 2, sharey=True)
    histories = [(name, run.history) for name, run in zip(run_names(runs), runs, strict=True)]
    draw_checks(by_step, histories, "distance", "steps")
    draw_checks(by_time, histories, "distance", "seconds")
    by_step.set_ylabel(CHECK_METRICS["distance"])
    by_time.legend(title="dotted: last check before a stage switch", fontsize="small")
    return as_png(figure)


@dataclass(frozen=True)
class RunGroup:
    """Runs that differ in their seeds alone."""

    name: str
    runs: tuple[RunResult, ...]


@dataclass(frozen=True)
class Comparison:
    """Groups whose checks compare: at least two, and every run of theirs was checked."""

    groups: tuple[RunGroup, ...]
    baseline: RunGroup
    steps: float
    """The fewest generator steps, over all stages, at which any run was last checked."""
    seconds: float
    """The same of seconds of training, without checks."""
    target: float
    """Distance at the baseline's last check, the mean over its seeds."""

    def at(self, run: RunResult, over: XAxis) -> CurvePoint | None:
        """The last check of a run by the equal steps or seconds; None if there was none yet."""
        limit = self.steps if over == "steps" else self.seconds
        return next((check for check in reversed(run.history.checks) if check.at(over) <= limit), None)

    def reached(self, run: RunResult) -> CurvePoint | None:
        """The first check of a run that is as near as the baseline's last one; None if none is."""
        return next((check for check in run.history.checks if check.line["distance"] <= self.target), None)

    def headings(self) -> tuple[str, ...]:
        """Of :meth:`rows`."""
        steps, seconds, target = f"{self.steps:,} steps", f"{self.seconds:,.1f} s", f"{self.target:.2f}"
        return ("run", f"distance at {steps}", "top-1", "checked at step", f"distance at {seconds}", "top-1",
                "checked at s", f"s to {target}", f"steps to {target}")  # fmt: skip

    def rows(self) -> list[tuple[str, ...]]:
        """A row for each group."""
        rows = []
        for group in self.groups:
            cells = [group.name + (" (baseline)" if group is self.baseline else "")]
            overs: tuple[tuple[XAxis, str], ...] = ("steps", ",.0f"), ("seconds", ",.1f")
            for over, form in overs:
                there = [self.at(run, over) for run in group.runs]
                cells += [_cell(_figures(there, "distance"), ".2f", "no check yet")]
                cells += [_cell(_figures(there, "top_1"), ".1%", "")]
                cells += [_cell(_places(there, over), form, "")]
            reached = [self.reached(run) for run in group.runs]
            for over, form in reversed(overs):
                cells += [_cell(_places(reached, over), form, "never")]
            rows.append(tuple(cells))
        return rows

    def sentence(self) -> str:
        """What the table shows, in one line."""
        text = (
            "Distance to a run's own training images and top-1, as checks found them. Equal steps (of the generator, "
            "over all stages) and equal seconds (of training, without checks) are the smallest totals among the runs, "
            "each up to its last check; a run stands there with its last check by then, not with its best. What a run "
            f"needs to come to {self.target:.2f}, the last distance of the baseline ({self.baseline.name}), is read at "
            "its first check that is as near, in whichever stage."
        )
        seeds = any(len(group.runs) > 1 for group in self.groups)
        return text + (" Over seeds: mean (least to greatest); the baseline's distance is its mean." if seeds else "")


def compare(groups: Sequence[RunGroup]) -> tuple[Comparison | None, list[str]]:
    """Groups set side by side, or None, and sentences without a full stop: what was left out, what does not compare."""
    named = [
        (group.name if len(group.runs) == 1 else f"{group.name} ({run.path.name})", run)
        for group in groups
        for run in group.runs
    ]
    notes = [
        f"not at equal steps and seconds: {name} has no check yet" for name, run in named if not run.history.checks
    ]
    checked = [RunGroup(group.name, tuple(run for run in group.runs if run.history.checks)) for group in groups]
    kept = tuple(group for group in checked if group.runs)
    runs = [run for group in kept for run in group.runs]
    if len(kept) < 2:
        return None, notes if len(groups) > 1 else []
    for what, values in (
        ("recognisers", {str(run.data.get("extractor")) for run in runs}),
        ("numbers of samples", {f"{run.recipe.training.checks.images:,}" for run in runs}),
    ):
        if len(values) > 1:
            reason = f"the checks were measured with different {what} ({', '.join(sorted(values))})"
            return None, [*notes, f"not at equal steps and seconds: {reason}"]
    machines = sorted({machine(run) for run in runs})
    if len(machines) > 1:
        notes.append(f"seconds do not compare: the runs were trained on different machines ({'; '.join(machines)})")
    notes += [
        f"what the trained weights took that {name} began with is not counted"
        for name, run in named
        if run.recipe.start.path is not None
    ]
    baseline = min(kept, key=_distance_from_baseline)
    last = [run.history.checks[-1] for run in runs]
    return Comparison(
        kept,
        baseline,
        min(check.steps for check in last),
        min(check.seconds for check in last),
        statistics.fmean(run.history.checks[-1].line["distance"] for run in baseline.runs),
    ), notes


def equal_blocks(groups: Sequence[RunGroup], level: int = 2) -> list[TextBlock]:
    """The comparison as a section of a report; nothing for a single group."""
    comparison, notes = compare(groups)
    blocks: list[TextBlock] = []
    if comparison is not None:
        blocks += [TableBlock(comparison.headings(), tuple(comparison.rows())), Paragraph(comparison.sentence())]
    if notes:
        blocks.append(Items(tuple(f"{note[0].upper()}{note[1:]}." for note in notes)))
    return [Heading("Equal steps, equal seconds", level), *blocks] if blocks else []


def machine(run: RunResult) -> str:
    """What a run began on, as far as it says."""
    known = (run.data.get(name) for name in ("device", "processor"))
    return ", ".join(str(part) for part in known if part)


def _distance_from_baseline(group: RunGroup) -> int:
    method = group.runs[0].recipe.method
    return 2 if method.uses_low_quality else int(method.kind != BASELINE)


def _places(checks: Sequence[CurvePoint | None], over: XAxis) -> list[float | None]:
    return [None if check is None else check.at(over) for check in checks]


def _figures(checks: Sequence[CurvePoint | None], name: str) -> list[float | None]:
    values = [check and check.line.get(name) for check in checks]
    return [value if isinstance(value, int | float) else None for value in values]


def _cell(values: Sequence[float | None], form: str, none: str) -> str:
    """Mean, least and greatest of what is known, and of how many."""
    known = [value for value in values if value is not None]
    if not known:
        return none
    text, least, greatest = (format(value, form) for value in (statistics.fmean(known), min(known), max(known)))
    if least != greatest:
        text += f" ({least} to {greatest})"
    return text if len(known) == len(values) else f"{text}, {len(known)} of {len(values)}"
