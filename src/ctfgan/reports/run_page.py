"""One page about one run or several: what ``ctfgan report`` writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from ctfgan.core.files import write_file
from ctfgan.core.text import plural, utf8
from ctfgan.data.dataset import Dataset
from ctfgan.distributed.random_streams import BatchRng
from ctfgan.reports.class_table import classes_section
from ctfgan.reports.comparison import HEADINGS, RunGroup, equal_blocks, table, warnings
from ctfgan.reports.ctf_maps import maps_section
from ctfgan.reports.curves import check_plots
from ctfgan.reports.document import Block, Contents, Heading, Items, Paragraph, Plots, TableBlock, Tiles, html
from ctfgan.reports.loaded_run import LoadedRun, RunGenerator, load_run
from ctfgan.reports.pictures import image_tile
from ctfgan.reports.run_summary import (
    RunSummary,
    copies_section,
    curves_section,
    environment_section,
    events_section,
    facts,
    figures_section,
    read_summary,
    recipe_section,
    samples_section,
    timing_section,
)
from ctfgan.runs.context import Callbacks

MARK = "ctfgan report"
"""Names the program in the page; what does not bear it is not replaced."""

SHEETS, ROWS = 6, 100  # of one run on its own page; several runs share a page
FEWEST_SHEETS, FEWEST_ROWS = 2, 10
EXAMPLES = 6  # classes whose real images are shown


@dataclass(frozen=True)
class ReportOptions:
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


def read_runs(paths: Sequence[Path]) -> list[RunSummary]:
    """Read the folders of runs; of several each gets a number.

    Raises:
        RunError: one is no run folder, or is damaged.
    """
    names = [path.resolve().name for path in paths]
    labels = names if len(paths) == 1 else [f"{number} {name}" for number, name in enumerate(names, start=1)]
    return [read_summary(path, label) for path, label in zip(paths, labels, strict=True)]


def write_report(runs: Sequence[RunSummary], options: ReportOptions, out: Path, callbacks: Callbacks) -> None:
    """Write the page of some runs; a file at its place is replaced."""
    write_file(out, utf8(html(report(runs, options, callbacks), out.parent, MARK)))


def report(runs: Sequence[RunSummary], options: ReportOptions, callbacks: Callbacks) -> list[Block]:
    """The page of some runs, as blocks.

    Args:
        runs: from :func:`read_runs`.
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


def _sections(run: RunSummary, options: ReportOptions, level: int, sharing: int, callbacks: Callbacks) -> list[Block]:
    """All about one run.

    Args:
        run: the run.
        options: what is shown.
        level: of the headings.
        sharing: how many runs share the page, so that it stays of a size that can be sent.
        callbacks: as in :func:`report`.
    """
    loaded = load_run(run.folder, run.recipe, options.device, callbacks)
    for reason in dict.fromkeys(filter(None, (loaded.no_data, loaded.no_images))):
        callbacks.say(f"note: {reason}")
    return [
        *data_section(run, loaded, level),
        *samples_section(run, max(FEWEST_SHEETS, SHEETS // sharing), level),
        *curves_section(run, level),
        *figures_section(run, level),
        *copies_section(run, level),
        *classes_section(run, loaded, options.images, max(FEWEST_ROWS, ROWS // sharing), level, callbacks.progress),
        *maps_section(run, loaded, level, callbacks.progress),
        *timing_section(run, level),
        *events_section(run, level),
        *environment_section(run, level),
        *recipe_section(run, level),
    ]


def _side_by_side(runs: Sequence[RunSummary]) -> list[Block]:
    results = [run.result for run in runs]
    rows = [(run.label, *row[1:]) for run in runs for row in table([run.result])]
    blocks: list[Block] = [Heading("Figures"), TableBlock(HEADINGS, tuple(rows))]
    notes = warnings(results)
    if notes:
        blocks.append(Items(tuple(f"Not comparable: {note}." for note in notes)))
    blocks += equal_blocks([RunGroup(run.label, (run.result,)) for run in runs])
    plots = check_plots([(run.label, run.result.history) for run in runs])
    blocks.append(Heading("Curves"))
    if not plots:
        return [*blocks, Paragraph("No run has been checked yet.")]
    return [*blocks, Paragraph("Checks of all runs; dotted lines are stage switches."), Plots(plots, are_large=True)]


def data_section(run: RunSummary, loaded: LoadedRun, level: int) -> list[Block]:
    """What the run learns from."""
    counts, data = run.result.counts, run.data
    names = {"classes": "classes", "lq_only": "of them with low-quality images only",
             "withheld": "of these with high-quality images that were withheld",
             "high_quality": "high-quality images trained on", "pool": "real images that the recogniser learned from",
             "reference": "held-out reference images",
             "low_quality": "low-quality images", "low_quality_held_out": "low-quality images held out"}  # fmt: skip
    known = {name: count for name, count in counts.items() if count or name not in {"lq_only", "withheld"}}
    rows = [(text, f"{known[name]:,}") for name, text in names.items() if name in known]
    blocks: list[Block] = [Heading("Data", level), TableBlock(("what", "number"), tuple(rows))]
    if data.get("pairing"):
        blocks.append(Paragraph(f"Low- and high-quality images are paired: {data['pairing']}."))
    if count := data.get("unreadable_count"):
        images = plural(count, "image could not be read and is", "images could not be read and are")
        blocks.append(Paragraph(f"{images} left out."))
    if loaded.no_data is not None:
        missing = "What needs real images is missing on this page"
        return [*blocks, Paragraph(f"The run's data cannot be used: {loaded.no_data}. {missing}.")]
    blocks.append(Items(tuple(line.strip() for line in loaded.data_notes)))
    if loaded.generator is not None and loaded.generator.dataset is not None:
        blocks.append(_examples(loaded.generator, loaded.generator.dataset))
    return blocks


def _examples(generator: RunGenerator, dataset: Dataset) -> TableBlock:
    """Some training images, and low-quality images as they go with their classes."""
    chosen = np.linspace(0, len(generator.labels) - 1, min(EXAMPLES, len(generator.labels))).round().astype(int)
    names, labels = [generator.names[place] for place in chosen], generator.labels[chosen]
    rows = dataset.training[np.isin(dataset.labels(dataset.training), labels)]
    of_rows = dataset.labels(rows)
    lines: list[tuple[str | Tiles, ...]] = [
        (
            "high quality",
            *(
                Tiles(tuple(image_tile(image, f"a real {name}") for image in dataset.images(rows[of_rows == c][:2])))
                for name, c in zip(names, labels, strict=True)
            ),
        )
    ]
    side = dataset.low_quality
    if side is not None:
        drawn = side.bank.choose(torch.from_numpy(np.repeat(labels, 2)), BatchRng.of(0)).numpy()
        images = side.bank.images[drawn]
        kind = "of the class" if side.bank.label_of_class is not None else "of any class"
        kind += ", or without a label, or of any where it has none" if side.bank.is_partly_matched else ""
        lines.append(
            (
                f"low quality, {kind}",
                *(
                    Tiles(tuple(image_tile(image, f"a low-quality image for {name}") for image in pair))
                    for name, pair in zip(names, np.split(images, len(names)), strict=True)
                ),
            )
        )
    return TableBlock(("", *names), tuple(lines), "Examples of the training images")
