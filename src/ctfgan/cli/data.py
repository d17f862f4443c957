"""``ctfgan data``: look at data sets, pack them, fetch published ones."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, cast

import click

COLOURS = {"grey": 1, "colour": 3}

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
@click.option("--json", "report", metavar="FILE", type=click.Path(path_type=Path), help="Write all of it as JSON, too.")
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
    from ctfgan.cli.inspected import check_report, show_inspection, show_together, write_report
    from ctfgan.data.inspection import compare, inspect, pairing_of
    from ctfgan.data.sources.columns import Columns
    from ctfgan.data.sources.registry import open_source

    if report is not None:
        check_report(report)
    sources = [open_source(path, part, Columns(image_column, label_column, class_level))]
    if lq is not None:
        columns = Columns(lq_image_column, lq_label_column, lq_class_level)
        sources.append(open_source(lq, columns=columns, keep_unlabelled=True))
    sides = [inspect(source, console.progress) for source in sources]
    for side in sides:
        show_inspection(side)
    together = compare(*sides) if len(sides) == 2 else []
    pairing = pairing_of(*sides) if len(sides) == 2 else []
    if len(sides) == 2:
        show_together(sides[0], sides[1], pairing, together)
    if report is not None:
        write_report(report, sides, pairing, together)


@data.command()
@click.argument("path", metavar="PATH")
@click.argument("out", metavar="OUT", type=click.Path(path_type=Path))
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
    from ctfgan.cli.inspected import show_built
    from ctfgan.data.pack import build as build_folder
    from ctfgan.data.pack import check_free
    from ctfgan.data.scan import scan_headers
    from ctfgan.data.settings import DataSettings
    from ctfgan.data.sources.columns import Columns
    from ctfgan.data.sources.registry import open_source

    check_free(out)
    source = open_source(path, part, Columns(image_column, label_column, class_level))
    survey = scan_headers(source, console.progress)
    side = size or max(4, min(survey.sides[1], DataSettings().resolution))
    channels = cast(Literal[1, 3], COLOURS.get(colour, 1 if survey.is_grey else 3))
    show_built(build_folder(source, survey, side, channels, fit, out, console.progress), out)


@data.command()
@click.argument("name")
@click.option("--to", metavar="DIR", type=click.Path(path_type=Path, file_okay=False),
              help="Keep it below DIR instead of $CTFGAN_DATA or the user's data folder.")  # fmt: skip
def fetch(name: str, to: Path | None) -> None:
    """Download the published data set NAME, verify and unpack it; 'ctfgan data list' shows the names."""
    import shlex

    from ctfgan.cli import console
    from ctfgan.core.text import format_bytes
    from ctfgan.data.published import data_home, published
    from ctfgan.data.published import fetch as fetch_set

    wanted = published(name)
    root = to.absolute() if to is not None else data_home()
    here = wanted.is_in(root)
    if not here:
        console.say(f"{wanted.title}: {format_bytes(wanted.size)}, into {wanted.home(root)}")
    place = fetch_set(wanted, root, console.progress)
    location = name if root == data_home() else shlex.quote(str(place))
    console.say(f"{name} {'was here already' if here else 'is here'}: {place}. Next: ctfgan train --hq {location}")


@data.command(name="list")
def list_() -> None:
    """List the published data sets that are known by name, and which of them are here."""
    from ctfgan.cli import console
    from ctfgan.core.text import format_bytes
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
