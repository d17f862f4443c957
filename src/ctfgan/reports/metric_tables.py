"""A reproduced table: the paper, each method's own source, and what was measured here, side by side."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

from ctfgan.evaluation import FLOOR, without_average
from ctfgan.evaluation.reproduction import Plan, TableCell
from ctfgan.evaluation.table_rows import Row, Section
from ctfgan.metrics.features import EVAL_CLASSIFIER
from ctfgan.reports.comparison import Measured, RunResult, read_run, warnings
from ctfgan.reports.csv_rows import Row as CsvRow
from ctfgan.reports.csv_rows import csv_rows
from ctfgan.reports.equal import Arm, compared, equal_blocks
from ctfgan.reports.markdown import Block, Heading, Items, Paragraph, Picture, TableBlock
from ctfgan.reports.plots_of_metrics import spread
from ctfgan.reports.sheet_images import last_sheet
from ctfgan.storage.run_folder import FIGURES

NO_FIGURE = "no figure"
NOT_RUN = "not run"


CellOutcome = Measured[TableCell]


def earlier(plan: Plan, folder: Path) -> list[CellOutcome]:
    """The cells that are not to be run now, with what an earlier run of theirs found."""
    found = []
    for cell in plan.cells:
        reason = plan.why_not(cell)
        if reason is not None:
            path = folder / cell.cell.name
            result = read_run(path) if (path / FIGURES).is_file() else None
            found.append(Measured(cell, result, None if result else reason))
    return found


def table_report(plan: Plan, measured: Sequence[CellOutcome], command: str) -> list[Block]:
    """The report of a table.

    Args:
        plan: what was to be run.
        measured: what came of each cell, in any order; those left out are still to be run.
        command: what reproduces the report.
    """
    by_cell = {found.place.cell.name: found for found in measured}
    blocks: list[Block] = [
        Heading(f"{plan.table.title}, {plan.profile.title}", 1),
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
    for section in plan.table.sections:
        cells = [cell for cell in plan.cells if cell.section == section]
        blocks += _section(plan, section, cells, by_cell)
    return blocks


def table_rows(plan: Plan, measured: Sequence[CellOutcome]) -> list[CsvRow]:
    """A line for each run that was measured, compared with those of its section."""
    lines: list[CsvRow] = []
    for section in plan.table.sections:
        found = [cell for cell in measured if cell.place.section == section]
        results = {
            row: [cell.result for cell in found if cell.place.row == row and cell.result] for row in section.rows
        }
        runs = [run for each in results.values() for run in each]
        lines += csv_rows(runs, compared(_arms(results))[0])
    return lines


def _arms(results: dict[Row, list[RunResult]]) -> list[Arm]:
    return [Arm(row.label, tuple(runs)) for row, runs in results.items() if runs]


def _section(plan: Plan, section: Section, cells: Sequence[TableCell], by_cell: dict[str, CellOutcome]) -> list[Block]:
    data = cells[0].cell.recipe.data
    side = f"here {data.resolution}x{data.resolution}"
    stands = ", on data that stand in for it" if plan.stands_in(section) else ""
    blocks: list[Block] = [Heading(f"{section.title} ({side}{stands})")]
    if section.note:
        blocks.append(Paragraph(section.note))
    found = {row: [by_cell.get(cell.cell.name) for cell in cells if cell.row == row] for row in section.rows}
    results = {row: [m.result for m in runs if m and m.result] for row, runs in found.items()}
    every = [result for runs in results.values() for result in runs]
    columns = _columns(every)
    rows = [line for row in section.rows for line in _rows(row, results[row], columns)]
    rows += _floor(every, columns)
    headings = ("", "paper", "its own source", *columns, "HQ + LQ", "steps", "training time", "device", "runs")
    blocks.append(TableBlock(headings, tuple(rows)))
    notes = [f"Not comparable: {warning}." for warning in warnings(every)]
    failed = [cell for runs in found.values() for cell in runs if cell and cell.why_not]
    notes += [f"{cell.place.row.label}, seed {cell.place.seed}: not run: {cell.why_not}." for cell in failed]
    if notes:
        blocks.append(Items(tuple(dict.fromkeys(notes))))
    return [*blocks, *equal_blocks(_arms(results), 3), *_protocols(results), *_sheets(results)]


Column = Callable[[RunResult, str], float | None]
"""A figure of one set of images of a run; None if it has none."""


def _columns(results: Sequence[RunResult]) -> dict[str, tuple[Column, str]]:
    """Headings with what stands below them and its format, over all extractors that any run was measured with."""
    columns: dict[str, tuple[Column, str]] = {}
    cards = {key: card for result in results for key, card in result.measured["protocol"]["extractors"].items()}
    for key, card in cards.items():
        if key == EVAL_CLASSIFIER:
            columns["top-1 ↑"] = (_figure(key, "top_1"), ".1%")
        columns[f"{card['distance']} ↓"] = (_figure(key, "frechet"), ".2f")
        columns[f"{card['kernel']} ↓"] = (_figure(key, "kernel"), ".4f")
        columns[f"{card['score']} ↑"] = (_figure(key, "score"), ".2f")
    return columns


def _figure(key: str, name: str) -> Column:
    def read(result: RunResult, images: str) -> float | None:
        value = result.measured["rows"][images].get(key, {}).get(name)
        return None if value is None else float(value)

    return read


def _rows(row: Row, results: Sequence[RunResult], columns: dict[str, tuple[Column, str]]) -> list[tuple[str, ...]]:
    """The row, and a second one for the weights as trained if they were measured beside their moving average."""
    known = (row.label, row.paper or NO_FIGURE, row.source)
    if not results:
        return [(*known, *(NOT_RUN for _ in columns), *[NOT_RUN] * 5)]
    first = results[0]
    rest = (
        first.images,
        f"{first.steps:,}",
        f"{statistics.fmean(result.seconds for result in results) / 60:.1f} min",
        ", ".join(dict.fromkeys(result.measured["protocol"]["device"] for result in results)),
        str(len(results)),
    )
    lines = [(*known, *_cells(results, columns, lambda reported: reported), *rest)]
    if all(without_average(r.measured["reported_set"]) in r.measured["rows"] for r in results):
        lines.append((f"{row.label}, no moving average", "", "", *_cells(results, columns, without_average), *[""] * 5))
    return lines


def _cells(
    results: Sequence[RunResult], columns: dict[str, tuple[Column, str]], images_of: Callable[[str], str]
) -> list[str]:
    return [
        _cell([read(result, images_of(result.measured["reported_set"])) for result in results], form)
        for read, form in columns.values()
    ]


def _floor(results: Sequence[RunResult], columns: dict[str, tuple[Column, str]]) -> list[tuple[str, ...]]:
    if not results:
        return []
    first = results[0]  # all runs of a section share data and recogniser; a warning stands below if they do not
    cells = [_cell([read(first, FLOOR)], form) for read, form in columns.values()]
    real = first.measured["protocol"]["real"]
    return [(f"real against real ({real:,} images in all)", "", "", *cells, *[""] * 5)]


def _cell(values: Sequence[float | None], form: str) -> str:
    known = [value for value in values if value is not None]
    return spread(known, form) if known else "none"


def _protocols(results: dict[Row, list[RunResult]]) -> list[Block]:
    lines = []
    for row, runs in results.items():
        for run in runs:
            images, protocol = run.measured["reported_set"], run.measured["protocol_sentence"]
            lines.append(f"{row.label}, {run.path.name}: {images}; {protocol}")
    return [Heading("Protocols", 3), Items(tuple(lines))] if lines else []


def _sheets(results: dict[Row, list[RunResult]]) -> list[Block]:
    blocks: list[Block] = []
    for row, runs in results.items():
        for run in runs[:1]:
            sheet = last_sheet(run.path)
            if sheet is not None:
                blocks.append(Picture(sheet, f"{row.label}, {run.path.name}: one class a column, end of training"))
    return [Heading("Samples", 3), *blocks] if blocks else []
