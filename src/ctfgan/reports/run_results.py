"""What a run left behind: its recipe, counts, training history, and its metrics as the cells of tables."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from ctfgan.core.errors import RunError
from ctfgan.evaluation import FORMAT
from ctfgan.evaluation.campaign import CampaignOutcome
from ctfgan.recipes.recipe import Recipe, parse_recipe
from ctfgan.reports.curves import JournalLine, TrainingHistory, history_of
from ctfgan.storage.run_folder import DATA, FIGURES, RECIPE, RunFolder

MetricRow = dict[str, Any]
"""Metrics of one set of images on one extractor."""
Place = TypeVar("Place")


@dataclass(frozen=True)
class RunResult:
    """What a run left behind."""

    path: Path
    recipe: Recipe
    data: dict[str, Any]
    """Content of the run's ``data.json``."""
    history: TrainingHistory
    figures: dict[str, Any] | None
    """Content of the run's ``figures.json``; None before ``ctfgan evaluate``."""

    @property
    def counts(self) -> dict[str, int]:
        """Numbers of classes and images."""
        counts: dict[str, int] = self.data["counts"]
        return counts

    @property
    def steps(self) -> int:
        """Generator steps over all stages, as far as the journal tells; a check may be some steps older."""
        return self.history.generator_steps

    @property
    def seconds(self) -> float:
        """Training time without checks."""
        return self.history.seconds

    @property
    def metrics(self) -> dict[str, Any]:
        """The figures of a run that is known to have some."""
        assert self.figures is not None, f"{self.path} was not evaluated"
        return self.figures

    @property
    def images(self) -> str:
        """Numbers of high- and low-quality training images, as tables show them."""
        return f"{self.counts['high_quality']:,} + {self.counts['low_quality']:,}"


@dataclass(frozen=True)
class RunOutcome(Generic[Place]):
    """What came of one run of many."""

    place: Place
    """Where it stands in its table or plot."""
    result: RunResult | None
    """None if it has no metrics."""
    why_not: str | None
    """Then why, in one sentence."""


def run_outcome(place: Place, outcome: CampaignOutcome) -> RunOutcome[Place]:
    """What came of one run of a campaign."""
    return RunOutcome(place, None if outcome.why_not else read_run(outcome.path), outcome.why_not)


def run_names(runs: Sequence[RunResult]) -> list[str]:
    """What runs are called side by side: their folders, or where several of these are called alike, their paths."""
    names = [run.path.resolve().name for run in runs]
    count = Counter(names)
    return [name if count[name] == 1 else str(run.path) for name, run in zip(names, runs, strict=True)]


def read_run(path: Path) -> RunResult:
    """Collect a run's results.

    Raises:
        RunError: no run folder, or its files are damaged.
        ConfigError: its recipe has settings that are not allowed.
    """
    folder = RunFolder.open(path)
    return run_result(folder, folder.journal().readable()[0], read_figures(path))


def run_result(folder: RunFolder, lines: list[JournalLine], figures: dict[str, Any] | None) -> RunResult:
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
    return RunResult(path, recipe, data, history_of(lines), figures)


def read_figures(path: Path) -> dict[str, Any] | None:
    """What ``ctfgan evaluate`` wrote into a run; None if it never ran.

    Raises:
        RunError: the file is damaged, or of another version.
    """
    if not (path / FIGURES).exists():
        return None
    figures = RunFolder.open(path).read_json(FIGURES)
    if figures.get("format") != FORMAT:
        raise RunError(f"{path / FIGURES} was written by another version; run 'ctfgan evaluate {path}' again")
    return figures


def metric_table(figures: dict[str, Any], key: str) -> tuple[list[str], list[list[str]]]:
    """Headings and rows of one extractor, a row for each set of images; without columns that would be empty."""
    card = figures["protocol"]["extractors"][key]
    columns: dict[str, Callable[[MetricRow], str]] = {
        "n / real": lambda row: f"{row['fake']:,} / {row['real']:,}",
        "top-1 ↑": top_1,
        "top-5 ↑": top_5,
        "top-1, LQ only ↑": top_1_lq_only,
        "top-5, LQ only ↑": lambda row: _number(row.get("top_5_lq_only"), ".1%"),
        f"{card['score']} ↑": score,
        f"{card['distance']} ↓": frechet,
        "at the floor's size ↓": lambda row: _number(row["frechet_at_floor"], ".2f"),
        f"{card['kernel']} ↓": kernel,
        "precision ↑": lambda row: _neighbours(row, "precision"),
        "recall ↑": lambda row: _neighbours(row, "recall"),
        "density ↑": lambda row: _neighbours(row, "density"),
        "coverage ↑": lambda row: _neighbours(row, "coverage"),
        "per class ↓": lambda row: "" if row["per_class"] is None else f"{row['per_class']['mean']:.2f}",
    }
    rows = {name: row[key] for name, row in figures["rows"].items() if key in row}
    used = {heading: cell for heading, cell in columns.items() if any(cell(row) for row in rows.values())}
    return ["images", *used], [[name, *(cell(row) for cell in used.values())] for name, row in rows.items()]


def super_resolution_table(told: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Headings and rows of several results of the same low-quality images, as ``figures.json`` has them."""
    headings = ["results", "LR-PSNR (dB) ↑", "spread (grey levels)", "spread (features, real = 1)"]
    return headings, [
        [name, f"{row['psnr']:.1f}", f"{row['spread']:.1f}", _number(row["diversity"], ".2f")]
        for name, row in told["rows"].items()
    ]


def classification_table(classification: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Headings and rows of the classification accuracy score, a row for each arm."""
    headings = [
        *("images", "number", "accuracy", "of each seed", "gain over HQ", "95 % interval"),
        *("generated add", "95 % interval"),
    ]
    rows = []
    for name, arm in classification["arms"].items():
        number = " + ".join(f"{count:,}" for count in arm["images"].values())
        row = [name, number, f"{arm['accuracy']:.1%}", " ".join(f"{100 * one:.1f}" for one in arm["by_seed"])]
        rows.append([*row, *_gain(arm["gain"]), *_gain(arm.get("generated_add"))])
    return headings, rows


def _gain(gain: dict[str, Any] | None) -> list[str]:
    """A gain in points, and its interval; nothing where there is nothing to compare with."""
    if gain is None:
        return ["", ""]
    low, high = (f"{100 * end:+.1f}" for end in gain["interval"])
    return [f"{100 * gain['difference']:+.1f}", f"{low} to {high}"]


def top_1(row: MetricRow) -> str:
    """Share of images that the recogniser reads as meant, mean over classes; empty where that cannot be told."""
    return _number(row["top_1"], ".1%")


def top_1_lq_only(row: MetricRow) -> str:
    """The same over the classes that the GAN has seen low-quality images of only; empty without any."""
    return _number(row.get("top_1_lq_only"), ".1%")


def top_5(row: MetricRow) -> str:
    """The same as :func:`top_1`, among the first five."""
    return _number(row["top_5"], ".1%")


def score(row: MetricRow) -> str:
    """The score with its spread over splits; empty for an extractor without probabilities."""
    if row["score"] is None:
        return "too few images" if row["too_few_for_score"] else ""
    return f"{row['score']:.2f} ± {row['score_spread']:.2f}"


def frechet(row: MetricRow) -> str:
    """The Frechet distance."""
    return f"{row['frechet']:.2f}"


def kernel(row: MetricRow) -> str:
    """The kernel distance."""
    return f"{row['kernel']:.4f}"


def class_label(name: str, lq_only: bool) -> str:
    """A class name, with a remark on a class that the GAN has seen low-quality images of only."""
    return f"{name} (LQ images only)" if lq_only else name


def spread(values: Sequence[float], form: str) -> str:
    """Mean of several runs, and their standard deviation if there are more than one."""
    mean = format(statistics.fmean(values), form)
    return mean if len(values) == 1 else f"{mean} ± {format(statistics.stdev(values), form)}"


def _neighbours(row: MetricRow, name: str) -> str:
    return "" if row["neighbours"] is None else f"{row['neighbours'][name]:.3f}"


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
