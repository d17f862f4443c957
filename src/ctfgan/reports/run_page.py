"""One page about one run or several: what ``ctfgan report`` writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ctfgan.core.files import write_file
from ctfgan.reports.comparison import HEADINGS, table, warnings
from ctfgan.reports.curves import check_plots
from ctfgan.reports.equal import Arm, equal_blocks
from ctfgan.reports.images_sections import classes_section, data_section, maps_or_why_not
from ctfgan.reports.loaded_run import open_run
from ctfgan.reports.markdown import page
from ctfgan.reports.page_blocks import Block, Contents, Heading, Items, Paragraph, Plots, TableBlock
from ctfgan.reports.run_summary import Story, read_story
from ctfgan.reports.summary_sections import (
    copies_section,
    curves_section,
    environment_section,
    events_section,
    facts,
    figures_section,
    recipe_section,
    samples_section,
    timing_section,
)
from ctfgan.runs.context import Callbacks

MARK = "ctfgan report"
"""Names the program in the page; what does not bear it is not replaced."""

SHEETS, ROWS = 6, 100  # of one run on its own page; several runs share a page
FEWEST_SHEETS, FEWEST_ROWS = 2, 10


@dataclass(frozen=True)
class Options:
    """What a report shows, and how."""

    images: int
    """Generated images that the class tables measure, about."""
    device: str


def is_report(path: Path) -> bool:
    """Whether a file was written by :func:`write_report`."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return f'content="{MARK} '.encode() in file.read(500)


def stories(paths: Sequence[Path]) -> list[Story]:
    """Read the folders of runs; of several each gets a number.

    Raises:
        RunError: one is no run folder, or is damaged.
    """
    names = [path.resolve().name for path in paths]
    labels = names if len(paths) == 1 else [f"{number} {name}" for number, name in enumerate(names, start=1)]
    return [read_story(path, label) for path, label in zip(paths, labels, strict=True)]


def write_report(runs: Sequence[Story], options: Options, out: Path, callbacks: Callbacks) -> None:
    """Write the page of some runs; a file at its place is replaced."""
    write_file(out, page(report(runs, options, callbacks), out.parent, MARK).encode())


def report(runs: Sequence[Story], options: Options, callbacks: Callbacks) -> list[Block]:
    """The page of some runs, as blocks.

    Args:
        runs: from :func:`stories`.
        options: what is shown.
        callbacks: sees how images are made; is told what cannot be shown.
    """
    if len(runs) == 1:
        (run,) = runs
        title = Heading(f"Run {run.label}: {run.recipe.method.kind}, {run.status()}", 1)
        return [title, facts(run), Contents(), *_sections(run, options, 2, 1, callbacks)]
    blocks: list[Block] = [Heading(f"{len(runs)} runs side by side", 1), Contents(), *_side_by_side(runs)]
    for run in runs:
        callbacks.say(f"run {run.label}")
        blocks += [Heading(f"Run {run.label}: {run.recipe.method.kind}, {run.status()}"), facts(run)]
        blocks += _sections(run, options, 3, len(runs), callbacks)
    return blocks


def _sections(run: Story, options: Options, level: int, sharing: int, callbacks: Callbacks) -> list[Block]:
    """All about one run.

    Args:
        run: the run.
        options: what is shown.
        level: of the headings.
        sharing: how many runs share the page, so that it stays of a size that can be sent.
        callbacks: as in :func:`report`.
    """
    opened = open_run(run.folder, run.recipe, options.device, callbacks)
    for reason in dict.fromkeys(filter(None, (opened.no_data, opened.no_studio))):
        callbacks.say(f"note: {reason}")
    return [
        *data_section(run, opened, level),
        *samples_section(run, max(FEWEST_SHEETS, SHEETS // sharing), level),
        *curves_section(run, level),
        *figures_section(run, level),
        *copies_section(run, level),
        *classes_section(run, opened, options.images, max(FEWEST_ROWS, ROWS // sharing), level, callbacks.progress),
        *maps_or_why_not(run, opened, level, callbacks.progress),
        *timing_section(run, level),
        *events_section(run, level),
        *environment_section(run, level),
        *recipe_section(run, level),
    ]


def _side_by_side(runs: Sequence[Story]) -> list[Block]:
    results = [run.result for run in runs]
    rows = [(run.label, *row[1:]) for run in runs for row in table([run.result])]
    blocks: list[Block] = [Heading("Figures"), TableBlock(HEADINGS, tuple(rows))]
    notes = warnings(results)
    if notes:
        blocks.append(Items(tuple(f"Not comparable: {note}." for note in notes)))
    blocks += equal_blocks([Arm(run.label, (run.result,)) for run in runs])
    plots = check_plots([(run.label, run.result.course) for run in runs])
    blocks.append(Heading("Curves"))
    if not plots:
        return [*blocks, Paragraph("No run has been checked yet.")]
    return [*blocks, Paragraph("Checks of all runs; dotted lines are stage switches."), Plots(plots, are_large=True)]
