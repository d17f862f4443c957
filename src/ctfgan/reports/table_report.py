"""A reproduced table: the paper, each method's own source, and what was measured here, side by side."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

from ctfgan.evaluation import FLOOR, without_average
from ctfgan.evaluation.reproduction import TablePlan, TableRun
from ctfgan.evaluation.table_rows import TableRow, TableSection
from ctfgan.metrics.features import EVAL_CLASSIFIER
from ctfgan.reports.comparison import RunGroup, compare, equal_blocks, warnings
from ctfgan.reports.csv_rows import CsvRow, csv_rows
from ctfgan.reports.document import Heading, Items, Paragraph, Picture, TableBlock, TextBlock
from ctfgan.reports.pictures import sheets_of
from ctfgan.reports.run_results import RunOutcome, RunResult, read_run, spread
from ctfgan.storage.run_folder import FIGURES

NO_FIGURE = "no figure"
NOT_RUN = "not run"


CellOutcome = RunOutcome[TableRun]
Metric = Callable[[RunResult, str], float | None]
"""A metric of one set of images of a run; None if it has none."""


def earlier(plan: TablePlan, folder: Path) -> list[CellOutcome]:
    """The cells that are not to be run now, with the results of an earlier run of theirs."""
    outcomes = []
    for cell in plan.runs:
        reason = plan.why_not(cell)
        if reason is not None:
            path = folder / cell.name
            result = read_run(path) if (path / FIGURES).is_file() else None
            outcomes.append(RunOutcome(cell, result, None if result else reason))
    return outcomes


def table_report(plan: TablePlan, outcomes: Sequence[CellOutcome], command: str) -> list[TextBlock]:
    """The report of a table.

    Args:
        plan: what was to be run.
        outcomes: what came of each cell, in any order; those left out are still to be run.
        command: what reproduces the report.
    """
    by_cell = {outcome.place.name: outcome for outcome in outcomes}
    blocks: list[TextBlock] = [
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
        cells = [cell for cell in plan.runs if cell.section == section]
        blocks += _section(plan, section, cells, by_cell)
    return blocks


def table_rows(plan: TablePlan, outcomes: Sequence[CellOutcome]) -> list[CsvRow]:
    """A line for each run that was measured, compared with those of its section."""
    lines: list[CsvRow] = []
    for section in plan.table.sections:
        cells = [cell for cell in outcomes if cell.place.section == section]
        results = {
            row: [cell.result for cell in cells if cell.place.row == row and cell.result] for row in section.rows
        }
        runs = [run for each in results.values() for run in each]
        lines += csv_rows(runs, compare(_groups(results))[0])
    return lines


def _groups(results: dict[TableRow, list[RunResult]]) -> list[RunGroup]:
    return [RunGroup(row.label, tuple(runs)) for row, runs in results.items() if runs]


def _section(
    plan: TablePlan, section: TableSection, cells: Sequence[TableRun], by_cell: dict[str, CellOutcome]
) -> list[TextBlock]:
    data = cells[0].recipe.data
    side = f"here {data.resolution}x{data.resolution}"
    stands = ", on data that stand in for it" if plan.stands_in(section) else ""
    blocks: list[TextBlock] = [Heading(f"{section.title} ({side}{stands})")]
    if section.note:
        blocks.append(Paragraph(section.note))
    outcomes = {row: [by_cell.get(cell.name) for cell in cells if cell.row == row] for row in section.rows}
    results = {row: [m.result for m in runs if m and m.result] for row, runs in outcomes.items()}
    every = [result for runs in results.values() for result in runs]
    columns = _columns(every)
    rows = [line for row in section.rows for line in _rows(row, results[row], columns)]
    rows += _floor(every, columns)
    headings = ("", "paper", "its own source", *columns, "HQ + LQ", "steps", "training time", "device", "runs")
    blocks.append(TableBlock(headings, tuple(rows)))
    notes = [f"Not comparable: {warning}." for warning in warnings(every)]
    failed = [cell for runs in outcomes.values() for cell in runs if cell and cell.why_not]
    notes += [f"{cell.place.row.label}, seed {cell.place.seed}: not run: {cell.why_not}." for cell in failed]
    if notes:
        blocks.append(Items(tuple(dict.fromkeys(notes))))
    return [*blocks, *equal_blocks(_groups(results), 3), *_protocols(results), *_sheets(results)]


def _columns(results: Sequence[RunResult]) -> dict[str, tuple[Metric, str]]:
    """Headings with what stands below them and its format, over all extractors that any run was measured with."""
    columns: dict[str, tuple[Metric, str]] = {}
    cards = {key: card for result in results for key, card in result.metrics["protocol"]["extractors"].items()}
    for key, card in cards.items():
        if key == EVAL_CLASSIFIER:
            columns["top-1 ↑"] = (_metric(key, "top_1"), ".1%")
        columns[f"{card['distance']} ↓"] = (_metric(key, "frechet"), ".2f")
        columns[f"{card['kernel']} ↓"] = (_metric(key, "kernel"), ".4f")
        columns[f"{card['score']} ↑"] = (_metric(key, "score"), ".2f")
    return columns


def _metric(key: str, name: str) -> Metric:
    def read(result: RunResult, images: str) -> float | None:
        value = result.metrics["rows"][images].get(key, {}).get(name)
        return None if value is None else float(value)

    return read


def _rows(row: TableRow, results: Sequence[RunResult], columns: dict[str, tuple[Metric, str]]) -> list[tuple[str, ...]]:
    """The row, and a second one for the weights as trained if they were measured beside their moving average."""
    known = (row.label, row.paper or NO_FIGURE, row.source)
    if not results:
        return [(*known, *(NOT_RUN for _ in columns), *[NOT_RUN] * 5)]
    first = results[0]
    rest = (
        first.images,
        f"{first.steps:,}",
        f"{statistics.fmean(result.seconds for result in results) / 60:.1f} min",
        ", ".join(dict.fromkeys(result.metrics["protocol"]["device"] for result in results)),
        str(len(results)),
    )
    lines = [(*known, *_cells(results, columns, lambda reported: reported), *rest)]
    if all(without_average(r.metrics["reported_set"]) in r.metrics["rows"] for r in results):
        lines.append((f"{row.label}, no moving average", "", "", *_cells(results, columns, without_average), *[""] * 5))
    return lines


def _cells(
    results: Sequence[RunResult], columns: dict[str, tuple[Metric, str]], images_of: Callable[[str], str]
) -> list[str]:
    return [
        _cell([read(result, images_of(result.metrics["reported_set"])) for result in results], form)
        for read, form in columns.values()
    ]


def _floor(results: Sequence[RunResult], columns: dict[str, tuple[Metric, str]]) -> list[tuple[str, ...]]:
    if not results:
        return []
    first = results[0]  # all runs of a section share data and recogniser; a warning stands below if they do not
    cells = [_cell([read(first, FLOOR)], form) for read, form in columns.values()]
    real = first.metrics["protocol"]["real"]
    return [(f"real against real ({real:,} images in all)", "", "", *cells, *[""] * 5)]


def _cell(values: Sequence[float | None], form: str) -> str:
    known = [value for value in values if value is not None]
    return spread(known, form) if known else "none"


def _protocols(results: dict[TableRow, list[RunResult]]) -> list[TextBlock]:
    lines = []
    for row, runs in results.items():
        for run in runs:
            images, protocol = run.metrics["reported_set"], run.metrics["protocol_sentence"]
            lines.append(f"{row.label}, {run.path.name}: {images}; {protocol}")
    return [Heading("Protocols", 3), Items(tuple(lines))] if lines else []


def _sheets(results: dict[TableRow, list[RunResult]]) -> list[TextBlock]:
    first = [(row, runs[0].path) for row, runs in results.items() if runs]
    pictures = [
        Picture(sheet, f"{row.label}, {path.name}: one class a column, end of training")
        for row, path in first
        for sheet in sheets_of(path)[-1:]
    ]
    return [Heading("Samples", 3), *pictures] if pictures else []
