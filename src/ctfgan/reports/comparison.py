"""Runs side by side: one table, one plot."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, Generic, TypeVar

from matplotlib.figure import Figure

from ctfgan.core.errors import RunError
from ctfgan.evaluation.campaign import Outcome
from ctfgan.recipes.recipe import Recipe, parse_recipe
from ctfgan.reports.curves import FIGURES, Course, Line, course_of, draw_checks
from ctfgan.reports.plots_of_metrics import frechet, kernel, read_figures, score, top_1_of_both, top_5
from ctfgan.storage.run_folder import DATA, RECIPE, RunFolder

HEADINGS = ("run", "method", "HQ", "LQ", "steps", "train s", "images", "on", "top-1", "top-5", "score", "Frechet",
            "kernel")  # fmt: skip
CELLS = (top_1_of_both, top_5, score, frechet, kernel)


@dataclass(frozen=True)
class RunResult:
    """What a run left behind."""

    path: Path
    recipe: Recipe
    data: dict[str, Any]
    """Content of the run's ``data.json``."""
    course: Course
    figures: dict[str, Any] | None
    """Content of the run's figures; None before ``ctfgan evaluate``."""

    @property
    def counts(self) -> dict[str, int]:
        """Numbers of classes and images."""
        counts: dict[str, int] = self.data["counts"]
        return counts

    @property
    def steps(self) -> int:
        """Generator steps over all stages, as far as the journal tells; a check may be some steps older."""
        return self.course.generator_steps

    @property
    def measured(self) -> dict[str, Any]:
        """The figures of a run that is known to have some."""
        assert self.figures is not None, f"{self.path} was not evaluated"
        return self.figures

    @property
    def images(self) -> str:
        """Numbers of high- and low-quality training images, as tables show them."""
        return f"{self.counts['high_quality']:,} + {self.counts['low_quality']:,}"

    @property
    def seconds(self) -> float:
        """Training time without checks."""
        return self.course.seconds


Place = TypeVar("Place")


@dataclass(frozen=True)
class Measured(Generic[Place]):
    """What came of one run of many."""

    place: Place
    """Where it stands in its table or plot."""
    result: RunResult | None
    """None if it has no figures."""
    why_not: str | None
    """Then why, in one sentence."""


def measured(place: Place, outcome: Outcome) -> Measured[Place]:
    """What came of one run of a campaign."""
    return Measured(place, None if outcome.why_not else read_run(outcome.path), outcome.why_not)


def read_run(path: Path) -> RunResult:
    """Collect a run's results.

    Raises:
        RunError: no run folder, or its files are damaged.
        ConfigError: its recipe has settings that are not allowed.
    """
    folder = RunFolder.open(path)
    return run_result(folder, folder.journal().readable()[0], read_figures(path))


def run_result(folder: RunFolder, lines: list[Line], figures: dict[str, Any] | None) -> RunResult:
    """The same with lines of the journal and figures that were read already.

    Raises:
        RunError: the run's recipe or ``data.json`` is damaged.
        ConfigError: its recipe has settings that are not allowed.
    """
    path = folder.path
    recipe = parse_recipe(folder.read_json(RECIPE), str(path / RECIPE))
    data = folder.read_json(DATA)
    counts = data.get("counts")
    if not isinstance(counts, dict) or not {"classes", "high_quality", "low_quality"} <= counts.keys():
        raise RunError(f"{path / DATA} is damaged (no counts); restore it or train again")
    return RunResult(path, recipe, data, course_of(lines), figures)


def table(runs: list[RunResult]) -> list[tuple[str, ...]]:
    """Rows under :data:`HEADINGS`, one for each extractor on each set of images of each run; "not run" where nothing
    was measured.
    """
    rows: list[tuple[str, ...]] = []
    for run in runs:
        known = (
            run.path.name,
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
            rows += [(*known, name, key, *(cell(found) for cell in CELLS)) for key, found in row.items()]
    return rows


def warnings(runs: list[RunResult]) -> list[str]:
    """Why figures of these runs must not be compared, one sentence each."""
    names = {"real": "numbers of real images", "fake": "numbers of samples", "resolution": "resolutions",
             "reference": "references", "data_seed": "data splits",
             "lq_only": "numbers of classes with low-quality images only"}  # fmt: skip
    protocols = [run.figures["protocol"] for run in runs if run.figures]
    found = []
    for key in sorted({key for protocol in protocols for key in protocol["extractors"]}):
        values = sorted(
            {protocol["extractors"][key]["name"] for protocol in protocols if key in protocol["extractors"]}
        )
        if len(values) > 1:
            found.append(f"the runs were measured with different extractors ({', '.join(values)})")
    for field, what in names.items():
        values = sorted({str(protocol.get(field, 0)) for protocol in protocols})
        if len(values) > 1:
            found.append(f"the runs were measured with different {what} ({', '.join(values)})")
    return found


def plot(runs: list[RunResult]) -> bytes:
    """Distance at the checks over generator steps and over training time, the stage switch marked; a PNG."""
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    by_step, by_time = figure.subplots(1, 2, sharey=True)
    courses = [(run.path.name, run.course) for run in runs]
    draw_checks(by_step, courses, "distance", "steps")
    draw_checks(by_time, courses, "distance", "seconds")
    by_step.set_ylabel(FIGURES["distance"])
    by_time.legend(title="dotted: last check before a stage switch", fontsize="small")
    return as_png(figure)


def as_png(figure: Figure) -> bytes:
    """A finished plot as a PNG."""
    content = BytesIO()
    figure.savefig(content, format="png", dpi=110)
    return content.getvalue()
