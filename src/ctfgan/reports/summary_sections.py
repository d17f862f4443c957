"""Sections of a run's page that need nothing but the run's folder."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

from ctfgan.evaluation import FLOOR
from ctfgan.metrics.features import EVAL_CLASSIFIER
from ctfgan.metrics.memorization import MemorizationCheck
from ctfgan.reports.curves import check_plots, loss_plots
from ctfgan.reports.page_blocks import Block, Code, Facts, Folded, Heading, Items, Paragraph, Plots, TableBlock
from ctfgan.reports.plots_of_metrics import figure_table, marked, top_1, top_1_lq_only
from ctfgan.reports.run_summary import Story
from ctfgan.reports.sheet_images import embedded, sheets_of, spread_over_time

MOST_EVENTS = 200


def facts(run: Story) -> Facts:
    """What one looks for first."""
    counts, data, seconds = run.result.counts, run.recipe.data, run.result.seconds
    shown = [
        ("status", run.status(), f"method {run.recipe.method.kind}, recipe {run.recipe.name}"),
        ("training images", run.result.images, f"high + low quality; {counts['classes']:,} classes, "
         f"{data.resolution}x{data.resolution} pixels"),
        ("generator steps", f"{run.result.steps:,}", f"{seconds:,.0f} s of training without checks"),
    ]  # fmt: skip
    figures = run.result.figures
    if figures is None:
        return Facts((*shown, ("figures", "none", "not evaluated")))
    row, floor = (figures["rows"][name][EVAL_CLASSIFIER] for name in (figures["reported_set"], FLOOR))
    if row["top_1"] is not None:
        shown.append(("recogniser's top-1", top_1(row), f"held-out real images: {top_1(floor)}"))
    if row.get("top_1_lq_only") is not None:
        of_real = f"held-out real images: {top_1_lq_only(floor)}"
        shown.append(("top-1, classes with LQ images only", top_1_lq_only(row), of_real))
    at_floor = f"real against real: {floor['frechet']:.2f}; samples of that size: {row['frechet_at_floor']:.2f}"
    shown.append(("Frechet distance", f"{row['frechet']:.2f}", at_floor))
    near = figures["copies"]["closer_than_real"]
    return Facts((*shown, ("suspected copies", f"{near:.1%}", "of samples; chance gives 1 %")))


def samples_section(run: Story, most: int, level: int) -> list[Block]:
    """The newest sample sheet, and earlier ones to unfold."""
    every = sheets_of(run.folder.path)
    by_class = run.recipe.method.is_conditional
    pictures = [found for path in spread_over_time(every, most) if (found := embedded(path, by_class))]
    blocks: list[Block] = [Heading("Samples over time", level)]
    if not pictures:
        return [*blocks, Paragraph("There is no sample sheet yet; every check draws one.")]
    what = "one class a column, each image from the same noise as the one at its place in the other sheets"
    blocks.append(Paragraph(f"The newest of {len(every):,} sheets: {what if by_class else 'images without a class'}."))
    blocks.append(pictures[-1])
    if len(pictures) > 1:
        evenly = "" if len(pictures) == len(every) else f", evenly spaced among {len(every):,}"
        blocks.append(Folded(f"{len(pictures) - 1} earlier sheets{evenly}", tuple(pictures[:-1])))
    return blocks


def curves_section(run: Story, level: int) -> list[Block]:
    """Checks and losses over time."""
    course = run.result.course
    blocks: list[Block] = [Heading("Curves", level)]
    if run.damaged_lines:
        blocks.append(Paragraph(f"Damaged lines of the journal, passed over here: {run.damaged_lines:,}."))
    if not course.steps and not course.checks:
        return [*blocks, Paragraph("The journal tells of no step yet.")]
    if course.switches:
        places = ", ".join(
            f"{stage.name} to {after.name} after {switch.steps:,} steps"
            for (stage, after), switch in zip(pairwise(course.stages), course.switches, strict=True)
        )
        blocks.append(Paragraph(f"Dotted lines are stage switches: {places}."))
    if course.checks:
        told = "Checks compare with training images, so they are no reported figures; each uses the same noise."
        blocks += [Paragraph(told), Plots(check_plots([(run.label, course)]), are_large=True)]
    if course.steps:
        blocks += [Paragraph("Loss terms, as the journal has them."), Plots(loss_plots(course, run.label))]
    return blocks


def figures_section(run: Story, level: int) -> list[Block]:
    """What ``ctfgan evaluate`` found."""
    blocks: list[Block] = [Heading("Figures", level)]
    figures = run.result.figures
    if figures is None:
        return [*blocks, Paragraph(f"{run.no_figures}.")]
    for key, card in figures["protocol"]["extractors"].items():
        headings, rows = figure_table(figures, key)
        blocks.append(TableBlock(tuple(headings), tuple(map(tuple, rows)), f"Extractor: {card['name']}"))
    blocks.append(Paragraph("The floor is what real images score against other real images; few images make any "
                            "distance larger, so compare it with samples at the floor's size. What stands for the "
                            f"run: {figures['reported_set']}."))  # fmt: skip
    if figures["notes"]:
        blocks.append(Items(tuple(f"Note: {note}." for note in figures["notes"])))
    per_class = figures["rows"][figures["reported_set"]][EVAL_CLASSIFIER]["per_class"]
    if per_class:
        worst = sorted(per_class["distances"].items(), key=lambda found: -found[1])
        told = f"Frechet distance class by class, {per_class['fake']:,} images of each, worst first"
        lq_only = set(per_class.get("lq_only", ()))
        rows_by_class = tuple((marked(name, name in lq_only), f"{distance:.2f}") for name, distance in worst[:20])
        blocks.append(TableBlock(("class", "Frechet distance"), rows_by_class, told))
    return [*blocks, Folded("Protocol", (Paragraph(figures["protocol_sentence"]),))]


def copies_section(run: Story, level: int) -> list[Block]:
    """How near samples are to training images, beside real ones."""
    figures = run.result.figures
    told = f"Not checked. {run.no_figures}."
    if figures is not None:
        told = f"{MemorizationCheck(**figures['copies']).sentence()}. "
        told += (
            f"Compared: {figures['copies']['generated']:,} samples and {figures['copies']['held_out']:,} real images."
        )
    return [Heading("Copies check", level), Paragraph(told)]


def timing_section(run: Story, level: int) -> list[Block]:
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
        for stage in run.result.course.stages
    ]
    blocks: list[Block] = [Heading("Timing", level)]
    if rows:
        steps, seconds = run.result.steps, run.result.seconds
        rows.append(("all", f"{steps:,}", f"{seconds:,.1f}", _rate(steps, seconds), "", ""))
        headings = ("stage", "generator steps", "training s", "steps/s", "checks", "why it ended")
        blocks.append(TableBlock(headings, tuple(rows), "Training alone; checks and saving are not in these seconds"))
    wall = run.wall_time()
    told = "How long the run took by the clock is not known: its files have not kept their times (were they copied?)."
    if wall is not None:
        began, taken = wall
        told = (
            f"By the clock, {taken} from {began:%Y-%m-%d %H:%M} to the newest line of the journal, checks and pauses "
        )
        told += "between stopping and resuming included (from the times of the run's files)."
    return [*blocks, Paragraph(told)]


def _rate(steps: int, seconds: float) -> str:
    return f"{steps / seconds:.2f}" if seconds > 0 else ""


def events_section(run: Story, level: int) -> list[Block]:
    """Everything in the journal that the other sections do not show; nothing if there is no such thing."""
    events = run.result.course.others
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


def environment_section(run: Story, level: int) -> list[Block]:
    """What the run was made with."""
    summary = run.summary
    rows = [("device", str(summary.get("device", "not noted"))), ("recogniser", str(summary.get("extractor", "")))]
    rows += [(name, str(summary.get(name) or "")) for name in ("processor", "commit")]
    rows += [(name, str(value)) for name, value in _mapping(summary, "versions").items()]
    rows += [(f"fingerprint, {side}", str(value)[:16]) for side, value in _mapping(summary, "fingerprints").items()]
    rows += [("seeds", f"training {run.recipe.seed}, data {run.recipe.data.seed}"), ("folder", str(run.folder.path))]
    if run.result.figures is not None:
        rows.append(("evaluated on", run.result.figures["protocol"]["device"]))
    return [Heading("Environment", level), TableBlock(("what", "value"), tuple(row for row in rows if row[1]))]


def _mapping(summary: dict[str, Any], name: str) -> dict[str, Any]:
    found = summary.get(name)
    return found if isinstance(found, dict) else {}


def recipe_section(run: Story, level: int) -> list[Block]:
    """The resolved recipe, and how it differs from the named one."""
    changes = run.changes()
    if changes is None:
        told = f"The recipe {run.recipe.name} is none of this version's named ones."
    elif changes:
        told = f"The named recipe {run.recipe.name} with {len(changes)} settings changed:"
    else:
        told = f"The named recipe {run.recipe.name} as it is."
    blocks: list[Block] = [Heading("Recipe", level), Paragraph(told)]
    if changes:
        blocks.append(Items(tuple(changes)))
    if later := _later_changes(run.summary):
        blocks += [Paragraph("Changed when the run was resumed:"), Items(later)]
    return [*blocks, Folded("All settings, resolved", (Code(run.recipe.to_json()),))]


def _later_changes(summary: dict[str, Any]) -> tuple[str, ...]:
    """What of a recipe was changed on resuming, and after how many steps of all stages."""
    changes = summary.get("changes")
    if not isinstance(changes, list):
        return ()
    return tuple(
        f"after {change['after_steps']:,} steps: {name} = {_plain(values['now'])} (before: {_plain(values['before'])})"
        for change in changes
        for name, values in change["settings"].items()
    )
