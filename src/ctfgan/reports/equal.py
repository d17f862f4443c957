"""Arms at equal generator steps and after equal seconds of training, and what each needs to come to the baseline."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from ctfgan.reports.comparison import RunResult
from ctfgan.reports.curves import Moment, Over
from ctfgan.reports.page_blocks import Block, Heading, Items, Paragraph, TableBlock

BASELINE = "sn-gan-projection"


@dataclass(frozen=True)
class Arm:
    """Runs that differ in their seeds alone."""

    name: str
    runs: tuple[RunResult, ...]


@dataclass(frozen=True)
class Comparison:
    """Arms whose checks compare: at least two, and every run of theirs was checked."""

    arms: tuple[Arm, ...]
    baseline: Arm
    steps: float
    """The fewest generator steps, over all stages, at which any run was last checked."""
    seconds: float
    """The same of seconds of training, without checks."""
    target: float
    """Distance at the baseline's last check, the mean over its seeds."""

    def at(self, run: RunResult, over: Over) -> Moment | None:
        """The last check of a run by the equal steps or seconds; None if there was none yet."""
        limit = self.steps if over == "steps" else self.seconds
        return next((check for check in reversed(run.course.checks) if check.at(over) <= limit), None)

    def reached(self, run: RunResult) -> Moment | None:
        """The first check of a run that is as near as the baseline's last one; None if none is."""
        return next((check for check in run.course.checks if check.line["distance"] <= self.target), None)

    def headings(self) -> tuple[str, ...]:
        """Of :meth:`rows`."""
        steps, seconds, target = f"{self.steps:,} steps", f"{self.seconds:,.1f} s", f"{self.target:.2f}"
        return ("run", f"distance at {steps}", "top-1", "checked at step", f"distance at {seconds}", "top-1",
                "checked at s", f"s to {target}", f"steps to {target}")  # fmt: skip

    def rows(self) -> list[tuple[str, ...]]:
        """A row for each arm."""
        rows = []
        for arm in self.arms:
            cells = [arm.name + (" (baseline)" if arm is self.baseline else "")]
            overs: tuple[tuple[Over, str], ...] = ("steps", ",.0f"), ("seconds", ",.1f")
            for over, form in overs:
                there = [self.at(run, over) for run in arm.runs]
                cells += [_cell(_figures(there, "distance"), ".2f", "no check yet")]
                cells += [_cell(_figures(there, "top_1"), ".1%", "")]
                cells += [_cell(_places(there, over), form, "")]
            reached = [self.reached(run) for run in arm.runs]
            for over, form in reversed(overs):
                cells += [_cell(_places(reached, over), form, "never")]
            rows.append(tuple(cells))
        return rows

    def sentence(self) -> str:
        """What the table shows, in one line."""
        told = (
            "Distance to a run's own training images and top-1, as checks found them. Equal steps (of the generator, "
            "over all stages) and equal seconds (of training, without checks) are the smallest totals among the runs, "
            "each up to its last check; a run stands there with its last check by then, not with its best. What a run "
            f"needs to come to {self.target:.2f}, the last distance of the baseline ({self.baseline.name}), is read at "
            "its first check that is as near, in whichever stage."
        )
        seeds = any(len(arm.runs) > 1 for arm in self.arms)
        return told + (" Over seeds: mean (least to greatest); the baseline's distance is its mean." if seeds else "")


def compared(arms: Sequence[Arm]) -> tuple[Comparison | None, list[str]]:
    """Arms set side by side, or None, and sentences without a full stop: what was left out, what does not compare."""
    named = [
        (arm.name if len(arm.runs) == 1 else f"{arm.name} ({run.path.name})", run) for arm in arms for run in arm.runs
    ]
    notes = [f"not at equal steps and seconds: {name} has no check yet" for name, run in named if not run.course.checks]
    checked = [Arm(arm.name, tuple(run for run in arm.runs if run.course.checks)) for arm in arms]
    kept = tuple(arm for arm in checked if arm.runs)
    runs = [run for arm in kept for run in arm.runs]
    if len(kept) < 2:
        return None, notes if len(arms) > 1 else []
    for what, values in (
        ("recognisers", {str(run.data.get("extractor")) for run in runs}),
        ("numbers of samples", {f"{run.recipe.training.checks.images:,}" for run in runs}),
    ):
        if len(values) > 1:
            told = f"the checks were measured with different {what} ({', '.join(sorted(values))})"
            return None, [*notes, f"not at equal steps and seconds: {told}"]
    machines = sorted({machine(run) for run in runs})
    if len(machines) > 1:
        notes.append(f"seconds do not compare: the runs were trained on different machines ({'; '.join(machines)})")
    notes += [
        f"what the trained weights took that {name} began with is not counted"
        for name, run in named
        if run.recipe.start.path is not None
    ]
    baseline = min(kept, key=_distance_from_baseline)
    last = [run.course.checks[-1] for run in runs]
    return Comparison(
        kept,
        baseline,
        min(check.steps for check in last),
        min(check.seconds for check in last),
        statistics.fmean(run.course.checks[-1].line["distance"] for run in baseline.runs),
    ), notes


def equal_blocks(arms: Sequence[Arm], level: int = 2) -> list[Block]:
    """The comparison as a section of a report; nothing for a single arm."""
    comparison, notes = compared(arms)
    blocks: list[Block] = []
    if comparison is not None:
        blocks += [TableBlock(comparison.headings(), tuple(comparison.rows())), Paragraph(comparison.sentence())]
    if notes:
        blocks.append(Items(tuple(f"{note[0].upper()}{note[1:]}." for note in notes)))
    return [Heading("Equal steps, equal seconds", level), *blocks] if blocks else []


def machine(run: RunResult) -> str:
    """What a run began on, as far as it says."""
    known = (run.data.get(name) for name in ("device", "processor"))
    return ", ".join(str(part) for part in known if part)


def _distance_from_baseline(arm: Arm) -> int:
    method = arm.runs[0].recipe.method
    return 2 if method.uses_low_quality else int(method.kind != BASELINE)


def _places(checks: Sequence[Moment | None], over: Over) -> list[float | None]:
    return [None if check is None else check.at(over) for check in checks]


def _figures(checks: Sequence[Moment | None], name: str) -> list[float | None]:
    found = [check and check.line.get(name) for check in checks]
    return [value if isinstance(value, int | float) else None for value in found]


def _cell(values: Sequence[float | None], form: str, none: str) -> str:
    """Mean, least and greatest of what is known, and of how many."""
    known = [value for value in values if value is not None]
    if not known:
        return none
    text, least, greatest = (format(value, form) for value in (statistics.fmean(known), min(known), max(known)))
    if least != greatest:
        text += f" ({least} to {greatest})"
    return text if len(known) == len(values) else f"{text}, {len(known)} of {len(values)}"
