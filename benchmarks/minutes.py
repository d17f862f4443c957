"""Figures of runs against the minutes that they were given (``ctfgan train --minutes``), as a table and a plot.

    python benchmarks/minutes.py runs/a-5 runs/a-20 runs/a-60 runs/b-5 runs/b-20 runs/b-60 --plot minutes.png

The runs are evaluated (``ctfgan evaluate``); those on the same images make one line.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from timing import run_script

from ctfgan.core.errors import ConfigError
from ctfgan.core.files import read_json
from ctfgan.data.settings import name_of
from ctfgan.evaluation.result import FLOOR, read_figures
from ctfgan.metrics.features import EVAL_CLASSIFIER
from ctfgan.recipes.recipe import parse_recipe
from ctfgan.runs.time_plan import AIM
from ctfgan.storage.run_folder import FIGURES, RECIPE, RunFolder

COLUMNS = {"frechet": "Frechet distance (lower is better)", "top_1": "top-1", "recall": "recall"}


@dataclass(frozen=True)
class TimedRun:
    """A run that was given some minutes."""

    images: str
    """What it trained on."""
    minutes: float
    steps: int
    """Generator steps that it made of them."""
    figures: dict[str, float]
    floor: dict[str, float]
    """Of real images against real ones."""


def timed_run(path: Path) -> TimedRun:
    """A run from its folder.

    Raises:
        ConfigError: it was given no minutes, or is not evaluated.
    """
    folder = RunFolder.open(path)
    recipe = parse_recipe(folder.read_json(RECIPE), str(path / RECIPE))
    *_, last = recipe.stages.values()
    if last.end_minute is None:
        raise ConfigError(f"{path} was given no minutes; train it with --minutes")
    if not (path / FIGURES).is_file():
        raise ConfigError(f"{path} has no figures; make them with 'ctfgan evaluate {path}'")
    content: dict[str, Any] = read_figures(path / FIGURES)
    rows = content["rows"]
    chosen, floor = (_figures(rows[name][EVAL_CLASSIFIER]) for name in (content["reported_set"], FLOOR))
    provenance = read_json(path / "bundle" / "provenance.json")
    return TimedRun(
        name_of(recipe.data.high_quality or recipe.name),
        round(last.end_minute / AIM),
        provenance["steps"],
        chosen,
        floor,
    )


def _figures(scores: dict[str, Any]) -> dict[str, float]:
    return {name: (scores | scores["neighbours"])[name] for name in COLUMNS}


def table(runs: list[TimedRun]) -> str:
    """Markdown, a run a row."""
    lines = ["| images | minutes | steps | distance | top-1 | recall |", "|---" * 6 + "|"]
    for run in runs:
        one = run.figures
        lines.append(
            f"| {run.images} | {run.minutes:g} | {run.steps:,} | {one['frechet']:.1f} | {100 * one['top_1']:.1f} % | "
            f"{one['recall']:.2f} |"
        )
    return "\n".join(lines)


def plot(runs: list[TimedRun]) -> Figure:
    """A figure a panel against minutes, a set of images a line; dotted: real images."""
    by_images: dict[str, list[TimedRun]] = defaultdict(list)
    for run in runs:
        by_images[run.images].append(run)
    figure = Figure(figsize=(10, 3.2), layout="constrained")
    axes = figure.subplots(1, len(COLUMNS), squeeze=False)[0]
    for axis, (column, label) in zip(axes, COLUMNS.items(), strict=True):
        for images, own in by_images.items():
            ordered = sorted(own, key=lambda run: run.minutes)
            values = [run.figures[column] for run in ordered]
            (line,) = axis.plot([run.minutes for run in ordered], values, "o-", label=images)
            axis.axhline(ordered[0].floor[column], color=line.get_color(), linestyle=":", linewidth=1)
        axis.set_xscale("log")
        ticks = sorted({run.minutes for run in runs})
        axis.set_xticks(ticks, [f"{minutes:g}" for minutes in ticks])
        axis.minorticks_off()
        axis.set_xlabel("minutes")
        axis.set_title(label, fontsize="small")
        axis.set_ylim(bottom=0)
    axes[0].legend(fontsize="x-small")
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    runs = [timed_run(path) for path in options.runs]
    print(table(runs))
    if options.plot:
        plot(runs).savefig(options.plot, dpi=110)


if __name__ == "__main__":
    run_script(main)
