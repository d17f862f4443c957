"""A reproduced table: the paper, each method's own source, and what was measured here, side by side."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ctfgan.evaluation import FLOOR
from ctfgan.experiments.reproduce import Plan, TableCell, missing_of
from ctfgan.experiments.tables import Row, Section
from ctfgan.metrics.extractor import RECOGNISER
from ctfgan.reports.compare import RunResult
from ctfgan.reports.document import Block, Heading, Items, Paragraph, Picture, TableBlock
from ctfgan.reports.figures import spread

NOT_AT_HAND = "not at hand"
NOT_RUN = "not run"


@dataclass(frozen=True)
class Measured:
    """A cell of the table as far as it came."""

    cell: TableCell
    result: RunResult | None
    """None if the cell has no figures."""
    why_not: str | None
    """Then why."""


def unmeasured(plan: Plan) -> list[Measured]:
    """The cells that cannot run for want of data."""
    found = ((cell, missing_of(cell.cell.recipe.data, plan.missing)) for cell in plan.cells)
    return [Measured(cell, None, "; ".join(reasons)) for cell, reasons in found if reasons]


def table_report(plan: Plan, measured: Sequence[Measured], command: str) -> list[Block]:
    """The report of a table.

    Args:
        plan: what was to be run.
        measured: what came of each cell, in any order.
        command: what reproduces the report.
    """
    by_cell = {found.cell.cell.name: found for found in measured}
    blocks: list[Block] = [
        Heading(f"{plan.table.title} (profile {plan.profile.name})", 1),
        Paragraph(f"Profile {plan.profile.name}: {plan.profile.note}."),
        Paragraph(f"Command: {command}"),
        Paragraph(
            "Columns: what the paper says, what the method's own source says, what was measured here. Protocols and "
            "extractors differ between the columns, so only figures of the same column compare. A figure with an "
            "Inception name is of the published Inception weights; all others bear the name of their extractor. "
            "Real images against real images (the floor) stand in the last row of each section."
        ),
    ]
    if plan.stand_ins:
        blocks.append(Items(tuple(f"{sentence}." for sentence in plan.stand_ins.values())))
    sections = list(dict.fromkeys(cell.section for cell in plan.cells))
    for section in sections:
        cells = [cell for cell in plan.cells if cell.section == section]
        blocks += _section(section, cells, by_cell)
    return blocks


def _section(section: Section, cells: Sequence[TableCell], by_cell: dict[str, Measured]) -> list[Block]:
    blocks: list[Block] = [Heading(section.title)]
    if section.note:
        blocks.append(Paragraph(section.note))
    found = {row: [by_cell.get(cell.cell.name) for cell in cells if cell.row == row] for row in section.rows}
    results = {row: [m.result for m in runs if m and m.result] for row, runs in found.items()}
    columns = _columns([result for runs in results.values() for result in runs])
    rows = [_row(row, results[row], columns) for row in section.rows]
    rows += _floor(results, columns)
    headings = ("", "paper", "its own source", *columns, "HQ + LQ", "steps", "training time", "device", "runs")
    blocks.append(TableBlock(headings, tuple(rows)))
    reasons = [f"{m.cell.row.label}, seed {m.cell.seed}: not run: {m.why_not}." for runs in found.values() for m in runs
               if m and m.why_not]  # fmt: skip
    if reasons:
        blocks.append(Items(tuple(dict.fromkeys(reasons))))
    blocks += _protocols(results)
    blocks += _sheets(results)
    return blocks


Column = Callable[[RunResult, str], float | None]
"""A figure of one set of images of a run; None if it has none."""


def _columns(results: Sequence[RunResult]) -> dict[str, tuple[Column, str]]:
    """Headings with what stands below them and its format, over all extractors that any run was measured with."""
    columns: dict[str, tuple[Column, str]] = {}
    cards = {key: card for result in results for key, card in _figures(result)["protocol"]["extractors"].items()}
    for key, card in cards.items():
        if key == RECOGNISER:
            columns["top-1 ↑"] = (_figure(key, "top_1"), ".1%")
        columns[f"{card['distance']} ↓"] = (_figure(key, "frechet"), ".2f")
        columns[f"{card['kernel']} ↓"] = (_figure(key, "kernel"), ".4f")
        columns[f"{card['score']} ↑"] = (_figure(key, "score"), ".2f")
    return columns


def _figure(key: str, name: str) -> Column:
    def read(result: RunResult, images: str) -> float | None:
        value = _figures(result)["rows"][images].get(key, {}).get(name)
        return None if value is None else float(value)

    return read


def _figures(result: RunResult) -> dict[str, Any]:
    assert result.figures is not None, "a measured cell has figures"
    return result.figures


def _row(row: Row, results: Sequence[RunResult], columns: dict[str, tuple[Column, str]]) -> tuple[str, ...]:
    known = (row.label, row.paper or NOT_AT_HAND, row.source or NOT_AT_HAND)
    if not results:
        return (*known, *(NOT_RUN for _ in columns), *[NOT_RUN] * 5)
    cells = [_cell([read(r, _figures(r)["reported_set"]) for r in results], form) for read, form in columns.values()]
    first = results[0]
    return (
        *known,
        *cells,
        f"{first.counts['high_quality']:,} + {first.counts['low_quality']:,}",
        f"{first.steps:,}",
        f"{statistics.fmean(result.seconds for result in results) / 60:.1f} min",
        ", ".join(dict.fromkeys(_figures(result)["protocol"]["device"] for result in results)),
        str(len(results)),
    )


def _floor(results: dict[Row, list[RunResult]], columns: dict[str, tuple[Column, str]]) -> list[tuple[str, ...]]:
    every = [result for runs in results.values() for result in runs]
    if not every:
        return []
    first = every[0]  # all runs of a section share their data, so their floors are the same
    cells = [_cell([read(first, FLOOR)], form) for read, form in columns.values()]
    real = _figures(first)["protocol"]["real"]
    return [(f"real halves ({real:,} images in all)", "", "", *cells, *[""] * 5)]


def _cell(values: Sequence[float | None], form: str) -> str:
    known = [value for value in values if value is not None]
    return spread(known, form) if known else "none"


def _protocols(results: dict[Row, list[RunResult]]) -> list[Block]:
    lines = []
    for row, runs in results.items():
        for run in runs:
            figures = _figures(run)
            lines.append(f"{row.label}, {run.path.name}: {figures['reported_set']}; {figures['protocol_sentence']}")
    return [Heading("Protocols", 3), Items(tuple(lines))] if lines else []


def _sheets(results: dict[Row, list[RunResult]]) -> list[Block]:
    blocks: list[Block] = []
    for row, runs in results.items():
        for run in runs[:1]:
            sheets = sorted((run.path / "sheets").glob("*.png"), key=_moment)
            if sheets:
                blocks.append(Picture(sheets[-1], f"{row.label}, {run.path.name}: one class a column, end of training"))
    return [Heading("Samples", 3), *blocks] if blocks else []


def _moment(sheet: Path) -> tuple[int, int]:
    """Stage number and step of a sheet's name."""
    stage, *_, step = sheet.stem.split("-")
    return int(stage), int(step)
