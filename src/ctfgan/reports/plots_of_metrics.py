"""Figures as they stand in ``figures.json``: read, checked, and as the cells of tables."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ctfgan.core.errors import RunError
from ctfgan.evaluation import FORMAT
from ctfgan.storage.run_folder import FIGURES, RunFolder

Row = dict[str, Any]
"""Figures of one set of images on one extractor."""


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


def figure_table(figures: dict[str, Any], key: str) -> tuple[list[str], list[list[str]]]:
    """Headings and rows of one extractor, a row for each set of images; without columns that would be empty."""
    card = figures["protocol"]["extractors"][key]
    columns: dict[str, Callable[[Row], str]] = {
        "n / real": lambda row: f"{row['fake']:,} / {row['real']:,}",
        "top-1 ↑": top_1,
        "top-5 ↑": top_5,
        "top-1, LQ only ↑": top_1_lq_only,
        "top-5, LQ only ↑": lambda row: _number(row.get("top_5_lq_only"), ".1%"),
        f"{card['score']} ↑": score,
        f"{card['distance']} ↓": frechet,
        "at the floor's size ↓": lambda row: _number(row["frechet_at_floor"], ".2f"),
        f"{card['kernel']} ↓": kernel,
        "precision ↑": lambda row: _near(row, "precision"),
        "recall ↑": lambda row: _near(row, "recall"),
        "density ↑": lambda row: _near(row, "density"),
        "coverage ↑": lambda row: _near(row, "coverage"),
        "per class ↓": lambda row: "" if row["per_class"] is None else f"{row['per_class']['mean']:.2f}",
    }
    rows = {name: row[key] for name, row in figures["rows"].items()}
    used = {heading: cell for heading, cell in columns.items() if any(cell(row) for row in rows.values())}
    return ["images", *used], [[name, *(cell(row) for cell in used.values())] for name, row in rows.items()]


def top_1(row: Row) -> str:
    """Share of images that the recogniser reads as meant, mean over classes; empty where that cannot be told."""
    return _number(row["top_1"], ".1%")


def top_1_lq_only(row: Row) -> str:
    """The same over the classes that the GAN has seen low-quality images of only; empty without any."""
    return _number(row.get("top_1_lq_only"), ".1%")


def top_1_of_both(row: Row) -> str:
    """Both in one cell."""
    only = top_1_lq_only(row)
    return f"{top_1(row)}, LQ only {only}" if only else top_1(row)


def top_5(row: Row) -> str:
    """The same as :func:`top_1`, among the first five."""
    return _number(row["top_5"], ".1%")


def score(row: Row) -> str:
    """The score with its spread over splits; empty for an extractor without probabilities."""
    if row["score"] is None:
        return "too few images" if row["too_few_for_score"] else ""
    return f"{row['score']:.2f} ± {row['score_spread']:.2f}"


def frechet(row: Row) -> str:
    """The Frechet distance."""
    return f"{row['frechet']:.2f}"


def kernel(row: Row) -> str:
    """The kernel distance."""
    return f"{row['kernel']:.4f}"


def marked(name: str, lq_only: bool) -> str:
    """A class name, with a remark on a class that the GAN has seen low-quality images of only."""
    return f"{name} (LQ images only)" if lq_only else name


def _near(row: Row, name: str) -> str:
    return "" if row["neighbours"] is None else f"{row['neighbours'][name]:.3f}"


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def spread(values: Sequence[float], form: str) -> str:
    """Mean of several runs, and their standard deviation if there are more than one."""
    mean = format(statistics.fmean(values), form)
    return mean if len(values) == 1 else f"{mean} ± {format(statistics.stdev(values), form)}"
