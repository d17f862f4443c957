"""A line for each run, as data: what it is, what it was measured to be, where it ran."""

from __future__ import annotations

import csv
import json
import shlex
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

from ctfgan.core.files import write_file
from ctfgan.core.text import utf8
from ctfgan.data.settings import name_of
from ctfgan.evaluation import FLOOR, with_training_bank
from ctfgan.metrics.features import EVAL_CLASSIFIER
from ctfgan.recipes.catalogue import origin_of
from ctfgan.recipes.overlay import changed_settings
from ctfgan.recipes.recipe import Recipe, shareable
from ctfgan.reports.comparison import Comparison, machine
from ctfgan.reports.curves import XAxis
from ctfgan.reports.run_results import RunResult

HEADER = (
    "run", "commit", "version", "recipe", "settings", "set", "low_quality", "pairing", "share", "seed", "hq_images",
    "lq_images", "steps", "seconds", "recogniser", "evaluation_seed", "images", "real", "top_1", "top_5", "score",
    "distance", "kernel", "precision", "recall", "density", "coverage", "training_bank_distance", "training_bank_top_1",
    "floor_distance", "floor_top_1", "equal_steps", "equal_steps_distance", "equal_steps_top_1", "equal_seconds",
    "equal_seconds_distance", "equal_seconds_top_1", "machine", "date", "top_1_lq_only", "floor_top_1_lq_only",
)  # fmt: skip
RUN, EVALUATION = ("run", "commit", "recipe", "settings", "seed", "recogniser"), ("evaluation_seed", "images", "real")
"""What tells lines apart."""

CsvRow = dict[str, str]
"""Texts by the names of :data:`HEADER`; empty where something is unknown."""


def csv_rows(runs: Sequence[RunResult], comparison: Comparison | None) -> list[CsvRow]:
    """A line for each run.

    Args:
        runs: of any method, evaluated or not.
        comparison: in which some of them may stand.
    """
    return [_row(run, comparison) for run in runs]


def write_csv(path: Path, rows: Sequence[CsvRow]) -> None:
    """Write a table; a file at its place is replaced."""
    text = StringIO()
    writer = csv.DictWriter(text, HEADER, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_file(path, utf8(text.getvalue()))


def add_to_csv(path: Path, rows: Sequence[CsvRow]) -> None:
    """Write a table, or add lines to the one that is there; those of the same evaluations of the same runs go away.

    So do lines of these runs from before they were evaluated.
    """
    new = {(_key(row, RUN), _key(row, EVALUATION)) for row in rows}
    new |= {(run, ("",) * len(EVALUATION)) for run, _ in new}
    kept = [row for row in read_csv(path) or [] if (_key(row, RUN), _key(row, EVALUATION)) not in new]
    write_csv(path, [*kept, *rows])


def read_csv(path: Path) -> list[CsvRow] | None:
    """The lines of a table that was written here; None for anything else."""
    try:
        with path.open(encoding="utf-8", newline="") as file:
            header, *rows = csv.reader(file, strict=True)
    except (OSError, ValueError, csv.Error):
        return None
    if tuple(header) != HEADER or any(len(row) != len(HEADER) for row in rows):
        return None
    return [dict(zip(HEADER, row, strict=True)) for row in rows]


def _row(run: RunResult, comparison: Comparison | None) -> CsvRow:
    recipe, versions = run.recipe, run.data.get("versions", {})
    values: dict[str, Any] = {
        "run": run.path.resolve().name,
        "commit": run.data.get("commit"),
        "recipe": recipe.name,
        "settings": _settings(recipe),
        "seed": recipe.seed,
        "version": versions.get("ctfgan"),
        "date": versions.get("date"),
        "machine": machine(run),
        "set": "glyphs" if recipe.data.high_quality is None else name_of(recipe.data.high_quality),
        "low_quality": _low_quality(recipe),
        "pairing": run.data.get("pairing"),
        "share": recipe.data.high_quality_fraction,
        "hq_images": run.counts["high_quality"],
        "lq_images": run.counts["low_quality"],
        "steps": run.steps,
        "seconds": run.seconds,
        "recogniser": run.data.get("extractor"),
    }
    values |= _figures(run) | _equal(run, comparison)
    return {name: "" if (value := values.get(name)) is None else str(value) for name in HEADER}


def _settings(recipe: Recipe) -> str:
    """What differs from the named recipe, as ``ctfgan train --set`` takes it; the seed has a column of its own."""
    named = origin_of(recipe)
    changed = changed_settings(shareable(recipe), named and shareable(named))
    known = {name: now for name, (now, _) in changed.items() if name not in {"seed", "name"}}
    return shlex.join(f"{name}={_value(value)}" for name, value in known.items())


def _value(value: object) -> str:
    if value is None:
        return "none"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _low_quality(recipe: Recipe) -> str:
    data = recipe.data
    if not recipe.method.uses_low_quality:
        return "none"
    if data.glyphs.low_quality_font_folders:
        return "bitmap fonts"
    size = data.degradation.size
    return f"degraded {size}x{size}" if data.low_quality is None else name_of(data.low_quality)


def _figures(run: RunResult) -> dict[str, Any]:
    """The recogniser's figures of the reported set, with those of the training bank and of the floor."""
    if run.figures is None:
        return {}
    chosen, rows, protocol = run.figures["reported_set"], run.figures["rows"], run.figures["protocol"]
    row = rows[chosen][EVAL_CLASSIFIER]
    values = {name: row[name] for name in ("real", "top_1", "top_5", "score", "kernel")}
    values["top_1_lq_only"] = row.get("top_1_lq_only")
    values |= {"images": row["fake"], "distance": row["frechet"], "evaluation_seed": protocol["evaluation_seed"]}
    values |= row["neighbours"] or {}
    for name, images in (("training_bank", with_training_bank(chosen)), ("floor", FLOOR)):
        if images in rows:
            other = rows[images][EVAL_CLASSIFIER]
            values |= {f"{name}_distance": other["frechet"], f"{name}_top_1": other["top_1"]}
            values[f"{name}_top_1_lq_only"] = other.get("top_1_lq_only")
    return values


def _equal(run: RunResult, comparison: Comparison | None) -> dict[str, Any]:
    """What a run's checks had measured by the equal steps and seconds."""
    if comparison is None or not any(run is other for group in comparison.groups for other in group.runs):
        return {}
    overs: tuple[tuple[XAxis, float], ...] = ("steps", comparison.steps), ("seconds", comparison.seconds)
    values: dict[str, Any] = {}
    for over, limit in overs:
        check = comparison.at(run, over)
        line = {} if check is None else check.line
        values |= {f"equal_{over}": limit, f"equal_{over}_distance": line.get("distance")}
        values[f"equal_{over}_top_1"] = line.get("top_1")
    return values


def _key(row: CsvRow, names: Sequence[str]) -> tuple[str, ...]:
    return tuple(row[name] for name in names)
