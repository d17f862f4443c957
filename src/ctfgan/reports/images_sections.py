"""Sections of a run's page that need its data or its generator, and what stands there without them."""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean

import numpy as np
import torch

from ctfgan.core.progress import Progress
from ctfgan.data.dataset import Dataset
from ctfgan.distributed.batch_rng import BatchRng
from ctfgan.models.generator_a import TransferGenerator
from ctfgan.recipes.recipe import CtfGan
from ctfgan.reports.class_table import MOST_REAL, ClassRow, ClassTable, measure_classes
from ctfgan.reports.loaded_run import Opened, Studio
from ctfgan.reports.maps import maps_section
from ctfgan.reports.page_blocks import Block, Cell, Heading, Items, Paragraph, TableBlock, Tiles
from ctfgan.reports.plots_of_metrics import marked
from ctfgan.reports.run_summary import Story
from ctfgan.reports.tiles import image_tile

EXAMPLES = 6  # classes that examples of real images are shown of
ABLATIONS = {
    "shuffled": "This run is the ablation that hands G_A the CTFs of other images, so H_m and Embed are those.",
    "zero": "This run is the ablation that hands G_A zeros in the place of the CTFs.",
}


def data_section(run: Story, opened: Opened, level: int) -> list[Block]:
    """What the run learns from."""
    counts, summary = run.result.counts, run.summary
    names = {"classes": "classes", "lq_only": "of them with low-quality images only",
             "withheld": "of these with high-quality images that were withheld",
             "high_quality": "high-quality images trained on", "pool": "real images that the recogniser learned from",
             "reference": "held-out reference images",
             "low_quality": "low-quality images", "low_quality_held_out": "low-quality images held out"}  # fmt: skip
    known = {name: count for name, count in counts.items() if count or name not in {"lq_only", "withheld"}}
    rows = [(text, f"{known[name]:,}") for name, text in names.items() if name in known]
    blocks: list[Block] = [Heading("Data", level), TableBlock(("what", "number"), tuple(rows))]
    if summary.get("pairing"):
        blocks.append(Paragraph(f"Low- and high-quality images are paired: {summary['pairing']}."))
    if summary.get("unreadable"):
        count = summary.get("unreadable_count", len(summary["unreadable"]))  # older runs name all of them
        blocks.append(Paragraph(f"{count:,} images could not be read and were left out."))
    if opened.no_data is not None:
        missing = "What needs real images is missing on this page"
        return [*blocks, Paragraph(f"The run's data cannot be used: {opened.no_data}. {missing}.")]
    blocks.append(Items(tuple(line.strip() for line in opened.found)))
    if opened.studio is not None and opened.studio.dataset is not None:
        blocks.append(_examples(opened.studio, opened.studio.dataset))
    return blocks


def _examples(studio: Studio, dataset: Dataset) -> TableBlock:
    """Some training images, and low-quality images as they go with their classes."""
    chosen = np.linspace(0, len(studio.labels) - 1, min(EXAMPLES, len(studio.labels))).round().astype(int)
    names, labels = [studio.names[place] for place in chosen], studio.labels[chosen]
    rows = dataset.training[np.isin(dataset.labels(dataset.training), labels)]
    of_rows = dataset.labels(rows)
    lines: list[tuple[Cell, ...]] = [
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


def classes_section(run: Story, opened: Opened, images: int, most: int, level: int, progress: Progress) -> list[Block]:
    """The table of classes, the worst first."""
    heading = Heading("Class by class", level)
    if not run.recipe.method.is_conditional:
        return [heading, Paragraph(f"A {run.recipe.method.kind} model makes images of no chosen class.")]
    studio = opened.studio
    if studio is None:
        return [heading, Paragraph(f"No samples can be made: {opened.no_studio}.")]
    found = measure_classes(studio, images, progress)
    return [
        heading,
        Paragraph(_told(found, studio, most)),
        *_why_less(found, studio, opened),
        _class_table(found, most),
    ]


def _told(found: ClassTable, studio: Studio, most: int) -> str:
    count = len(found.rows)
    classes = f"all {count:,} classes" if count == found.of else f"{count:,} of {found.of:,} classes, evenly spread"
    shown = f"; the worst {most:,} are shown" if count > most else ""
    text = (
        f"Measured here, on {found.per_class} samples of each of {classes}{shown} ({studio.model.weights}; "
        f"{studio.bank_name})."
    )
    known, only = (
        [row.accuracy for row in found.rows if row.accuracy is not None and row.lq_only is lq_only]
        for lq_only in (False, True)
    )
    if known:
        apart = f" ({fmean(only):.1%} in classes with low-quality images only)" if only else ""
        text += f" The recogniser reads {fmean(known):.1%} of the samples as meant{apart}."
    collapsed = sum(row.is_collapsed for row in found.rows)
    text += f" {collapsed:,} of these classes are collapsed." if collapsed else ""
    return text


def _why_less(found: ClassTable, studio: Studio, opened: Opened) -> list[Block]:
    """What the columns mean, and which are missing and why."""
    items = []
    if studio.eval_classifier is None:
        items.append("Accuracy and diversity are missing: the run's recogniser is missing, or cannot be used without "
                     "the data")  # fmt: skip
    else:
        items.append("Accuracy: share of the samples that the run's own recogniser reads as their class. It learned "
                     "from training images; the held-out reference is not looked at here")  # fmt: skip
    if studio.dataset is None:
        items.append(f"Diversity and nearest real images are missing: {opened.no_data}")
        return [Items(tuple(f"{item}." for item in items))]
    if studio.eval_classifier is not None:
        items.append(
            "Diversity: mean distance between two samples of the class on the recogniser's features, divided by that "
            "between two training images of it, where these are few mixed with that of all classes; below 1 the "
            f"samples are less varied, below {found.collapsed_below:.2g} the class counts as collapsed, as for the "
            "alarms of training (samples that look like another class count as varied, too)"
        )
    items.append(
        "Nearest: of all these samples the one nearest to a training image of its class, with that image, and their "
        "distance in root mean square grey levels after averaging to 16x16 pixels; in brackets, how far a training "
        f"image is from its nearest other one, in the median (at most {MOST_REAL:,} training images of a class)"
    )
    return [Items(tuple(f"{item}." for item in items))]


def _class_table(found: ClassTable, most: int) -> TableBlock:
    columns: dict[str, Callable[[ClassRow], Cell]] = {
        "class": lambda row: marked(row.name, row.lq_only),
        "accuracy": lambda row: "" if row.accuracy is None else f"{row.accuracy:.1%}",
        "samples": lambda row: Tiles(tuple(image_tile(image, f"a sample of {row.name}") for image in row.samples)),
        "mostly taken for": lambda row: "" if row.taken_for is None else "{} ({})".format(*row.taken_for),
        "diversity": _diversity,
        "nearest: sample, real": _nearest,
    }
    rows = found.rows[:most]
    used = {heading: cell for heading, cell in columns.items() if any(cell(row) for row in rows)}
    return TableBlock(tuple(used), tuple(tuple(cell(row) for cell in used.values()) for row in rows))


def _diversity(row: ClassRow) -> str:
    if row.diversity is None:
        return ""
    return f"{row.diversity:.2f}{', collapsed' if row.is_collapsed else ''}"


def _nearest(row: ClassRow) -> Cell:
    if row.nearest is None:
        return ""
    among = "" if row.real_distance is None else f" ({row.real_distance:.1f})"
    tiles = (
        image_tile(row.nearest.sample, f"the sample of {row.name} nearest to a training image"),
        image_tile(row.nearest.real, f"the training image of {row.name} nearest to it"),
    )
    return Tiles(tiles, f"{row.nearest.distance:.1f}{among}")


def maps_or_why_not(run: Story, opened: Opened, level: int, progress: Progress) -> list[Block]:
    """CTF maps, for the method that has some."""
    method = run.recipe.method
    heading = Heading("Conditional transferring features", level)
    if not isinstance(method, CtfGan):
        return []
    if opened.studio is None:
        return [heading, Paragraph(f"No samples can be made: {opened.no_studio}.")]
    assert isinstance(opened.studio.model.whole, TransferGenerator)
    ablation = ABLATIONS.get(method.features.ctf)
    told = [Paragraph(ablation)] if ablation else []
    return [heading, *told, *maps_section(opened.studio, level + 1, progress)]
