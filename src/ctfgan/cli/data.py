"""``ctfgan data``: look at data sets, pack them, fetch published ones."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import click

from ctfgan.cli.options import PATH, check_output
from ctfgan.core.files import write_file
from ctfgan.core.text import format_bytes, json_bytes, plural

if TYPE_CHECKING:
    from ctfgan.data.inspection import DataFinding, Inspection
    from ctfgan.data.packed import PackedImages, SourceSummary
    from ctfgan.data.sources.base import Labels

COLOURS = {"grey": 1, "colour": 3}
MODES = {
    "1": "black and white", "L": "grey", "LA": "grey with transparency", "I;16": "16-bit grey", "I;16B": "16-bit grey",
    "I": "32-bit grey", "F": "floating-point grey", "P": "palette", "PA": "palette with transparency", "RGB": "colour",
    "RGBA": "colour with transparency", "CMYK": "CMYK colour", "YCbCr": "YCbCr colour",
}  # fmt: skip
EXAMPLES = 5  # of a finding, and of the smallest and largest classes
BAR = 40  # letters of the longest bar of a histogram

PART = click.option("--part", type=click.Choice(["all", "train", "test"]), default="all", show_default=True,
                    help="All labelled images, or one part of the split that the data set publishes.")  # fmt: skip
IMAGE_COLUMN = click.option("--image-column", metavar="NAME", help="Of a table with several columns of images.")
LABEL_COLUMN = click.option("--label-column", metavar="NAME", help="Of a table with several columns of labels.")
CLASS_LEVEL = click.option("--class-level", type=click.IntRange(min=1), metavar="N",
                           help="Of folders in folders: the level that names the class, 1 the outermost.")  # fmt: skip


@click.group()
def data() -> None:
    """Check, pack, fetch or list data sets."""


@data.command()
@click.argument("path", metavar="PATH")
@click.option("--lq", metavar="PATH", help="Check these as the low-quality images that go with PATH.")
@click.option("--json", "report", metavar="FILE", type=PATH, help="Write all of it as JSON, too.")
@PART
@IMAGE_COLUMN
@LABEL_COLUMN
@CLASS_LEVEL
@click.option("--lq-image-column", metavar="NAME", help="The same of the images of --lq.")
@click.option("--lq-label-column", metavar="NAME", help="The same.")
@click.option("--lq-class-level", type=click.IntRange(min=1), metavar="N", help="The same.")
def check(
    path: str,
    lq: str | None,
    report: Path | None,
    part: Literal["all", "train", "test"],
    image_column: str | None,
    label_column: str | None,
    class_level: int | None,
    lq_image_column: str | None,
    lq_label_column: str | None,
    lq_class_level: int | None,
) -> None:
    """Read every image at PATH and say what may be wrong; nothing is changed.

    Counts, sizes, tiny classes, copies, likely label errors, unreadable files, folders on the wrong level. PATH is
    anything that 'ctfgan train --hq' takes.
    """
    from ctfgan.cli import console
    from ctfgan.data.inspection import compare, inspect, pairing_of
    from ctfgan.data.sources.columns import Columns
    from ctfgan.data.sources.registry import open_source

    if report is not None:
        check_output(report, "--json")
    sources = [open_source(path, part, Columns(image_column, label_column, class_level))]
    if lq is not None:
        columns = Columns(lq_image_column, lq_label_column, lq_class_level)
        sources.append(open_source(lq, columns=columns, keep_unlabelled=True))
    sides = [inspect(source, console.progress) for source in sources]
    pairing, together = (pairing_of(*sides), compare(*sides)) if len(sides) == 2 else ([], [])
    for side in sides:
        for line in _inspection(side):
            console.say(line)
    if len(sides) == 2:
        for line in _comparison(sides[0], sides[1], pairing, together):
            console.say(line)
    if report is not None:
        content = {
            "sets": [side.as_dict() for side in sides],
            "pairing": pairing,
            "together": [vars(finding) for finding in together],
        }
        write_file(report, json_bytes(content))
        console.say(f"report: {report}")


@data.command()
@click.argument("path", metavar="PATH")
@click.argument("out", metavar="OUT", type=PATH)
@click.option("--size", type=click.IntRange(min=4), metavar="PIXELS",
              help="Side of the packed images; without it their median side, at most 32.")  # fmt: skip
@click.option("--colour", type=click.Choice(["auto", *COLOURS]), default="auto", show_default=True,
              help="auto looks at the images.")  # fmt: skip
@click.option("--fit", type=click.Choice(["crop", "pad", "stretch"]), default="crop", show_default=True,
              help="How an image that is not square becomes square.")  # fmt: skip
@PART
@IMAGE_COLUMN
@LABEL_COLUMN
@CLASS_LEVEL
def build(
    path: str,
    out: Path,
    size: int | None,
    colour: str,
    fit: Literal["crop", "pad", "stretch"],
    part: Literal["all", "train", "test"],
    image_column: str | None,
    label_column: str | None,
    class_level: int | None,
) -> None:
    """Decode the images at PATH once, into the new folder OUT that training opens at once.

    \b
    ctfgan data build photos packed --size 64
    ctfgan train --hq packed --set data.resolution=64
    ctfgan data build imagenet imagenet-train --part train
    ctfgan data build imagenet imagenet-test --part test
    ctfgan train --hq imagenet-train --reference imagenet-test
    """
    from ctfgan.cli import console
    from ctfgan.core.files import require_free
    from ctfgan.data.pack import build as build_folder
    from ctfgan.data.scan import scan_headers
    from ctfgan.data.settings import DataSettings
    from ctfgan.data.sources.columns import Columns
    from ctfgan.data.sources.registry import open_source

    require_free(out, "folder")
    source = open_source(path, part, Columns(image_column, label_column, class_level))
    survey = scan_headers(source, console.progress)
    side = size or max(4, min(survey.sides[1], DataSettings().resolution))
    channels = cast(Literal[1, 3], COLOURS.get(colour, 1 if survey.is_grey else 3))
    for line in _packed(build_folder(source, survey, side, channels, fit, out, console.progress), out):
        console.say(line)


@data.command()
@click.argument("name")
@click.option("--to", metavar="DIR", type=click.Path(path_type=Path, file_okay=False),
              help="Keep it below DIR instead of $CTFGAN_DATA or the user's data folder.")  # fmt: skip
def fetch(name: str, to: Path | None) -> None:
    """Download the published data set NAME, verify and unpack it; 'ctfgan data list' shows the names."""
    from ctfgan.cli import console
    from ctfgan.data.published import data_home, published
    from ctfgan.data.published import fetch as fetch_set

    data_set = published(name)
    root = to.absolute() if to is not None else data_home()
    here = data_set.is_in(root)
    if not here:
        console.say(f"{data_set.title}: {format_bytes(data_set.size)}, into {data_set.home(root)}")
    place = fetch_set(data_set, root, console.progress)
    location = name if root == data_home() else shlex.quote(str(place))
    console.say(f"{name} {'was here already' if here else 'is here'}: {place}. Next: ctfgan train --hq {location}")


@data.command(name="list")
def list_() -> None:
    """List the published data sets that are known by name, and which of them are here."""
    from ctfgan.cli import console
    from ctfgan.data.published import CATALOGUE, data_home

    root = data_home()
    console.say(f"kept in {root} ($CTFGAN_DATA chooses another folder); use a name as in 'ctfgan train --hq cifar10'\n")
    width = max(map(len, CATALOGUE)) + 2
    for name, published in CATALOGUE.items():
        if published.is_in(root):
            state = f"here: {published.home(root) / published.folder}"
        elif published.by_hand:
            state = f"not here: {published.needs(root)}"
        else:
            state = f"not here: {published.needs(root)} ({format_bytes(published.size)})"
        console.say(f"{name:<{width}}{published.title}\n{'':<{width}}{state}")


def _inspection(side: Inspection) -> Iterator[str]:
    """Lines on one set: what is in it, what may be wrong, and what it can be used for."""
    yield from _summary(side.survey, side.classes, side.counts)
    yield from _findings(side.findings, side.survey.location)
    for quality, option, reason in (
        ("high", "--hq", side.no_high_quality_because()),
        ("low", "--lq", side.no_low_quality_because()),
    ):
        yield f"  usable as {quality}-quality images ({option}): " + ("yes" if reason is None else f"no, {reason}")


def _comparison(
    high: Inspection, low: Inspection, pairing: Sequence[str], findings: Sequence[DataFinding]
) -> Iterator[str]:
    """Lines on what two sets are to each other."""
    yield f"{high.survey.location} with {low.survey.location}"
    yield from (f"  {line}" for line in pairing)
    yield from _findings(findings, "")


def _packed(packed: PackedImages, out: Path) -> Iterator[str]:
    """Lines on a new folder of packed images, and what to type next."""
    import numpy as np

    from ctfgan.data.inspection import classes_and_levels, look_alike_names, unreadable_images
    from ctfgan.data.splits import different_of_classes
    from ctfgan.models.widths import PLANS

    survey, counts = packed.survey, packed.counts()
    different = different_of_classes(packed.labels, packed.firsts, np.arange(len(packed)), len(packed.names))
    yield from _summary(survey, packed.names, counts)
    findings = (
        *unreadable_images(survey),
        *classes_and_levels(survey.location, packed.classes, counts, different),
        *look_alike_names(packed.names),
    )
    yield from _findings(findings, survey.location)
    name, side = shlex.quote(str(out)), packed.images.shape[1]
    option = f" --set data.resolution={side}" if side in PLANS else ""
    command = f"ctfgan train --hq {name}{option}" if len(packed.names) else f"ctfgan train --hq GOOD --lq {name}"
    yield f"built: {name}, {packed.form}, {format_bytes(packed.images.nbytes)}. Next: {command}"


def _summary(survey: SourceSummary, classes: Sequence[str], counts: Labels) -> Iterator[str]:
    """Lines on how many images of what kind there are, and how they are spread over the classes."""
    of = f" of {plural(len(classes), 'class', 'classes')}" if len(classes) else " without labels"
    yield f"{survey.location}: {plural(survey.images, 'image')}{of}"
    low, median, high = survey.sides
    yield f"  shorter side: {low} pixels" + (f" to {high}, median {median}" if high > low else "")
    yield "  modes: " + ", ".join(f"{count:,} {MODES.get(mode, mode)} ({mode})" for mode, count in survey.modes.items())
    yield from (f"  {note}" for note in survey.notes)
    if len(classes):
        yield from _images_per_class(classes, counts)


def _images_per_class(classes: Sequence[str], counts: Labels) -> Iterator[str]:
    """Lines of a histogram, and the smallest and largest classes."""
    import numpy as np

    from ctfgan.data.inspection import histogram

    if counts.min() == counts.max():
        yield f"  images per class: {counts.min():,} each"
        return
    yield f"  images per class: {counts.min():,} to {counts.max():,}, median {int(np.median(counts)):,}"
    bins = [(f"{low:,}" if low == high else f"{low:,} to {high:,}", number) for low, high, number in histogram(counts)]
    width, most = max(len(label) for label, _ in bins), max(number for _, number in bins)
    for label, number in bins:
        bar = "#" * -(-number * BAR // most)
        yield f"    {label:>{width}} | {bar}{' ' * bool(bar)}{plural(number, 'class', 'classes')}"
    order = np.argsort(counts, kind="stable")
    for extreme, labels in (("smallest", order[:EXAMPLES]), ("largest", order[::-1][:EXAMPLES])):
        yield f"  {extreme}: " + ", ".join(f"{classes[label]} {counts[label]:,}" for label in labels)


def _findings(findings: Sequence[DataFinding], location: str) -> Iterator[str]:
    """Lines on each finding with a few examples; names are written as they are below the location."""
    yield "  findings:" if findings else "  findings: none"
    for finding in findings:
        yield f"    {finding.topic}: {finding.summary}"
        for example in finding.examples[:EXAMPLES]:
            yield f"      {example.replace(f'{location}/', '') if location else example}"
        if finding.count > EXAMPLES and finding.examples:
            yield f"      ... and {finding.count - EXAMPLES:,} more"
