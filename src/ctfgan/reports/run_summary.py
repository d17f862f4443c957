"""What a run's folder tells by itself, without data and generator, at whatever moment the run is; as sections of its
page.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

from ctfgan.core.errors import RunError
from ctfgan.core.text import plural
from ctfgan.evaluation import FLOOR
from ctfgan.metrics.features import EVAL_CLASSIFIER
from ctfgan.metrics.memorization import MemorizationCheck
from ctfgan.metrics.super_resolution import SuperResolution
from ctfgan.recipes.catalogue import origin_of
from ctfgan.recipes.overlay import changed_settings
from ctfgan.recipes.recipe import Recipe
from ctfgan.reports.curves import check_plots, loss_plots
from ctfgan.reports.document import Block, Code, Facts, Folded, Heading, Items, Paragraph, Plots, TableBlock
from ctfgan.reports.pictures import embedded_sheet, sheets_of, spread_over_time
from ctfgan.reports.run_results import (
    RunResult,
    class_label,
    classification_table,
    metric_table,
    read_figures,
    run_result,
    super_resolution_table,
    top_1,
    top_1_lq_only,
)
from ctfgan.runs.resumed_run import is_finished
from ctfgan.sampling.rejection import Rejections
from ctfgan.storage.run_folder import JOURNAL, RECIPE, RECOGNISER, RunFolder

MOST_EVENTS = 200


@dataclass(frozen=True)
class RunSummary:
    """A run as its folder tells of it."""

    folder: RunFolder
    label: str
    """What the run is called on the page."""
    result: RunResult
    no_figures: str | None
    """Why there are no figures, in one sentence; None if there are."""
    damaged_lines: int
    """Of the journal."""

    @property
    def recipe(self) -> Recipe:
        """The run's."""
        return self.result.recipe

    @property
    def data(self) -> dict[str, Any]:
        """Content of the run's ``data.json``."""
        return self.result.data

    def status(self) -> str:
        """Where training stands."""
        if is_finished(self.folder):
            return "finished"
        stages = self.result.history.stages
        return f"unfinished: stage {stages[-1].name}, step {stages[-1].steps:,}" if stages else "just begun"

    def wall_time(self) -> tuple[datetime, timedelta] | None:
        """When the run began and how long it took until the newest line of its journal, by the times of its files.

        None if these times cannot be right: copying a folder may lose them.
        """
        # Both are written when a run begins, and each may be written again: by 'resume --set', or where it was damaged.
        files = [file for name in (RECIPE, RECOGNISER) if (file := self.folder.path / name).exists()]
        began, journal = min(file.stat().st_mtime for file in files), self.folder.path / JOURNAL
        taken = journal.stat().st_mtime - began if journal.exists() else 0.0
        if taken < self.result.seconds:
            return None
        return datetime.fromtimestamp(began), timedelta(seconds=round(taken))

    def changes(self) -> list[str] | None:
        """How the recipe differs from the named one that it began as; None if there is none of this name."""
        named = origin_of(self.recipe)
        if named is None:
            return None
        changed = changed_settings(self.recipe, named)
        return [f"{name} = {now} (not {before})" for name, (now, before) in changed.items()]


def read_summary(path: Path, label: str) -> RunSummary:
    """Read all of a run's folder but weights and images.

    Raises:
        RunError: no run folder, or its recipe or ``data.json`` is damaged.
        ConfigError: its recipe has settings that are not allowed.
    """
    folder = RunFolder.open(path)
    figures, no_figures = None, None
    try:
        figures = read_figures(path)
        if figures is None:
            no_figures = f"This run was not evaluated: 'ctfgan evaluate {path}' measures it against held-out images"
            if not is_finished(folder):
                no_figures = f"This run is not finished, so it was not evaluated; go on with 'ctfgan resume {path}'"
    except RunError as error:
        no_figures = str(error)
    lines, damaged = folder.journal().readable()
    return RunSummary(folder, label, run_result(folder, lines, figures), no_figures, damaged)


def facts(run: RunSummary) -> Facts:
    """What one looks for first."""
    counts, data, seconds = run.result.counts, run.recipe.data, run.result.seconds
    known = [
        ("status", run.status(), f"method {run.recipe.method.kind}, recipe {run.recipe.name}"),
        ("training images", run.result.images, f"high + low quality; {counts['classes']:,} classes, "
         f"{data.resolution}x{data.resolution} pixels"),
        ("generator steps", f"{run.result.steps:,}", f"{seconds:,.0f} s of training without checks"),
    ]  # fmt: skip
    figures = run.result.figures
    if figures is None:
        return Facts((*known, ("figures", "none", "not evaluated")))
    row, floor = (figures["rows"][name][EVAL_CLASSIFIER] for name in (figures["reported_set"], FLOOR))
    if row["top_1"] is not None:
        known.append(("recogniser's top-1", top_1(row), f"held-out real images: {top_1(floor)}"))
    if row.get("top_1_lq_only") is not None:
        of_real = f"held-out real images: {top_1_lq_only(floor)}"
        known.append(("top-1, classes with LQ images only", top_1_lq_only(row), of_real))
    at_floor = f"real against real: {floor['frechet']:.2f}; samples of that size: {row['frechet_at_floor']:.2f}"
    known.append(("Frechet distance", f"{row['frechet']:.2f}", at_floor))
    near = figures["copies"]["closer_than_real"]
    return Facts((*known, ("suspected copies", f"{near:.1%}", "of samples; chance gives 1 %")))


def samples_section(run: RunSummary, most: int, level: int) -> list[Block]:
    """The newest sample sheet, and earlier ones to unfold."""
    every = sheets_of(run.folder.path)
    by_class = run.recipe.method.is_conditional
    pictures = [sheet for path in spread_over_time(every, most) if (sheet := embedded_sheet(path, by_class))]
    blocks: list[Block] = [Heading("Samples over time", level)]
    if not pictures:
        return [*blocks, Paragraph("There is no sample sheet yet; every check draws one.")]
    what = "one class a column, each image from the same noise as the one at its place in the other sheets"
    blocks.append(
        Paragraph(f"The newest of {plural(len(every), 'sheet')}: {what if by_class else 'images without a class'}.")
    )
    blocks.append(pictures[-1])
    if len(pictures) > 1:
        evenly = "" if len(pictures) == len(every) else f", evenly spaced among {len(every):,}"
        blocks.append(Folded(f"{plural(len(pictures) - 1, 'earlier sheet')}{evenly}", tuple(pictures[:-1])))
    return blocks


def curves_section(run: RunSummary, level: int) -> list[Block]:
    """Checks and losses over time."""
    history = run.result.history
    blocks: list[Block] = [Heading("Curves", level)]
    if run.damaged_lines:
        blocks.append(Paragraph(f"Damaged lines of the journal, passed over here: {run.damaged_lines:,}."))
    if not history.steps and not history.checks:
        return [*blocks, Paragraph("The journal tells of no step yet.")]
    if history.switches:
        places = ", ".join(
            f"{stage.name} to {after.name} after {switch.steps:,} steps"
            for (stage, after), switch in zip(pairwise(history.stages), history.switches, strict=True)
        )
        blocks.append(Paragraph(f"Dotted lines are stage switches: {places}."))
    if history.checks:
        text = "Checks compare with training images, so they are no reported figures; each uses the same noise."
        blocks += [Paragraph(text), Plots(check_plots([(run.label, history)]), are_large=True)]
    if history.steps:
        blocks += [Paragraph("Loss terms, as the journal has them."), Plots(loss_plots(history, run.label))]
    return blocks


def figures_section(run: RunSummary, level: int) -> list[Block]:
    """What ``ctfgan evaluate`` measured."""
    blocks: list[Block] = [Heading("Figures", level)]
    figures = run.result.figures
    if figures is None:
        return [*blocks, Paragraph(f"{run.no_figures}.")]
    for key, card in figures["protocol"]["extractors"].items():
        headings, rows = metric_table(figures, key)
        blocks.append(TableBlock(tuple(headings), tuple(map(tuple, rows)), f"Extractor: {card['name']}"))
    blocks.append(Paragraph("The floor is what real images score against other real images; few images make any "
                            "distance larger, so compare it with samples at the floor's size. What stands for the "
                            f"run: {figures['reported_set']}."))  # fmt: skip
    if told := figures.get("super_resolution"):
        headings, rows = super_resolution_table(told)
        caption = f"Enhance and vary: {SuperResolution(**told).heading()}"
        blocks.append(TableBlock(tuple(headings), tuple(map(tuple, rows)), caption))
        text = "LR-PSNR: how near results are to the low-quality image when area averaging reduces them to its size"
        blocks.append(Paragraph(f"{text}; that of other real images is what the class alone gives."))
    if drawn := figures.get("rejections"):
        blocks.append(Items(tuple(f"{name}: {Rejections(**told).sentence()}." for name, told in drawn.items())))
    if sentence := figures.get("classification_sentence"):
        headings, rows = classification_table(figures["classification"])
        caption = "Classification accuracy score: classifiers trained on these images, tested on held-out real ones"
        blocks.append(TableBlock(tuple(headings), tuple(map(tuple, rows)), caption))
        blocks.append(Paragraph(f"In words: {sentence}."))
    if figures["notes"]:
        blocks.append(Items(tuple(f"Note: {note}." for note in figures["notes"])))
    per_class = figures["rows"][figures["reported_set"]][EVAL_CLASSIFIER]["per_class"]
    if per_class:
        worst = sorted(per_class["distances"].items(), key=lambda entry: -entry[1])
        caption = f"Frechet distance class by class, {per_class['fake']:,} images of each, worst first"
        lq_only = set(per_class.get("lq_only", ()))
        rows_by_class = tuple((class_label(name, name in lq_only), f"{distance:.2f}") for name, distance in worst[:20])
        blocks.append(TableBlock(("class", "Frechet distance"), rows_by_class, caption))
    return [*blocks, Folded("Protocol", (Paragraph(figures["protocol_sentence"]),))]


def copies_section(run: RunSummary, level: int) -> list[Block]:
    """How near samples are to training images, beside real ones."""
    if run.result.figures is None:
        return [Heading("Copies check", level), Paragraph(f"Not checked. {run.no_figures}.")]
    copies = run.result.figures["copies"]
    compared = f"Compared: {copies['generated']:,} samples and {copies['held_out']:,} real images."
    return [Heading("Copies check", level), Paragraph(f"{MemorizationCheck(**copies).sentence()}. {compared}")]


def timing_section(run: RunSummary, level: int) -> list[Block]:
    """How long each stage took."""
    rows = [
        (
            stage.name,
            f"{stage.steps:,}",
            f"{stage.seconds:,.1f}",
            _rate(stage.steps, stage.seconds),
            f"{stage.checks:,}",
            stage.ended or "not ended",
        )
        for stage in run.result.history.stages
    ]
    blocks: list[Block] = [Heading("Timing", level)]
    if rows:
        steps, seconds = run.result.steps, run.result.seconds
        rows.append(("all", f"{steps:,}", f"{seconds:,.1f}", _rate(steps, seconds), "", ""))
        headings = ("stage", "generator steps", "training s", "steps/s", "checks", "why it ended")
        blocks.append(TableBlock(headings, tuple(rows), "Training alone; checks and saving are not in these seconds"))
    text = "How long the run took by the clock is not known: its files have not kept their times (were they copied?)."
    wall = run.wall_time()
    if wall is not None:
        began, taken = wall
        text = (
            f"By the clock, {taken} from {began:%Y-%m-%d %H:%M} to the newest line of the journal, checks and pauses "
            "between stopping and resuming included (from the times of the run's files)."
        )
    return [*blocks, Paragraph(text)]


def _rate(steps: int, seconds: float) -> str:
    return f"{steps / seconds:.2f}" if seconds > 0 else ""


def events_section(run: RunSummary, level: int) -> list[Block]:
    """Everything in the journal that the other sections do not show; nothing if there is no such thing."""
    events = run.result.history.others
    if not events:
        return []
    known = ("event", "stage", "step", "message")
    rows = [
        (*(_plain(line.get(name, "")) for name in known),
         ", ".join(f"{name}: {_plain(value)}" for name, value in line.items() if name not in known))
        for line in events[-MOST_EVENTS:]
    ]  # fmt: skip
    used = [place for place in range(len(known) + 1) if any(row[place] for row in rows)]
    headings = (*known, "more")
    part = "" if len(rows) == len(events) else f"; the last {len(rows):,} of {len(events):,}"
    return [
        Heading("Events", level),
        TableBlock(
            tuple(headings[place] for place in used),
            tuple(tuple(row[place] for place in used) for row in rows),
            f"Lines of the journal besides steps, checks and ends of stages{part}",
        ),
    ]


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def environment_section(run: RunSummary, level: int) -> list[Block]:
    """What the run was made with."""
    data = run.data
    rows = [("device", str(data.get("device", "not noted"))), ("recogniser", str(data.get("extractor", "")))]
    rows += [(name, str(data.get(name) or "")) for name in ("processor", "commit")]
    rows += [(name, str(value)) for name, value in _mapping(data, "versions").items()]
    rows += [(f"fingerprint, {side}", str(value)[:16]) for side, value in _mapping(data, "fingerprints").items()]
    rows += [("seeds", f"training {run.recipe.seed}, data {run.recipe.data.seed}"), ("folder", str(run.folder.path))]
    if run.result.figures is not None:
        rows.append(("evaluated on", run.result.figures["protocol"]["device"]))
    return [Heading("Environment", level), TableBlock(("what", "value"), tuple(row for row in rows if row[1]))]


def _mapping(data: dict[str, Any], name: str) -> dict[str, Any]:
    value = data.get(name)
    return value if isinstance(value, dict) else {}


def recipe_section(run: RunSummary, level: int) -> list[Block]:
    """The resolved recipe, and how it differs from the named one."""
    changes = run.changes()
    if changes is None:
        text = f"The recipe {run.recipe.name} is none of this version's named ones."
    elif changes:
        text = f"The named recipe {run.recipe.name} with {plural(len(changes), 'setting')} changed:"
    else:
        text = f"The named recipe {run.recipe.name} as it is."
    blocks: list[Block] = [Heading("Recipe", level), Paragraph(text)]
    if changes:
        blocks.append(Items(tuple(changes)))
    if later := _later_changes(run.data):
        blocks += [Paragraph("Changed when the run was resumed:"), Items(later)]
    return [*blocks, Folded("All settings, resolved", (Code(run.recipe.to_json()),))]


def _later_changes(data: dict[str, Any]) -> tuple[str, ...]:
    """What of a recipe was changed on resuming, and after how many steps of all stages."""
    changes = data.get("changes")
    if not isinstance(changes, list):
        return ()
    return tuple(
        f"after {change['after_steps']:,} steps: {name} = {_plain(values['now'])} (before: {_plain(values['before'])})"
        for change in changes
        for name, values in change["settings"].items()
    )
