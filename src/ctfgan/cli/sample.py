"""``ctfgan sample``."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ctfgan.cli.options import (
    DEVICE,
    MODEL,
    PATH,
    SEED,
    TOP_K,
    TRIES,
    check_image_name,
    check_readable,
    free_output,
    write_new,
)
from ctfgan.core.text import duration, format_bytes, plural

if TYPE_CHECKING:
    from ctfgan.data.images import Bytes
    from ctfgan.sampling.layouts import Layout
    from ctfgan.sampling.model import Model
    from ctfgan.sampling.plan import SamplePlan
    from ctfgan.sampling.rejection import RejectionSampler

SHEET_COUNT = 16
SHEET = "samples.png"


@click.command()
@MODEL
@click.option("--class", "classes", multiple=True, metavar="NAME",
              help="A class; may be repeated. Without it: all; on a sheet, of very many, some that are evenly "
              "spread.")  # fmt: skip
@click.option("--all-classes", is_flag=True, help="All classes, said outright.")
@click.option("-n", "count", type=click.IntRange(min=1), metavar="N",
              help=f"Images of each class [default: {SHEET_COUNT}]. With --balance-with: real and generated images "
              "together [default: as many as the largest class].")  # fmt: skip
@click.option("--balance-with", "real", metavar="PATH",
              help="Real images, in any form that 'ctfgan train --hq' takes: make what each class lacks.")  # fmt: skip
@SEED
@click.option("--lq", "low_quality", multiple=True, metavar="IMAGES", type=PATH,
              help="Own low-quality images, files or folders, in place of the bundle's; may be repeated.")  # fmt: skip
@click.option("--keep-readable", is_flag=True,
              help="Keep only images that the run's recogniser reads as their class; draw others anew.")  # fmt: skip
@TOP_K
@TRIES
@click.option("--out", metavar="DIR|PNG", type=PATH,
              help="A sheet if it ends in .png, else a folder for a set of samples "
              f"[default: {SHEET}, or the next free name].")  # fmt: skip
@click.option("--format", "form", type=click.Choice(["folders", "parquet", "webdataset"]),
              help="Of a set: a subfolder for each class [default], or shards with classes mixed.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Say what a set would hold and take, then stop.")
@DEVICE
def sample(
    model: Path,
    classes: tuple[str, ...],
    all_classes: bool,
    count: int | None,
    real: str | None,
    seed: int,
    low_quality: tuple[Path, ...],
    keep_readable: bool,
    top_k: int | None,
    tries: int | None,
    out: Path | None,
    form: str | None,
    dry_run: bool,
    device: str,
) -> None:
    """Make images of chosen classes: a sheet to look at, or a set to train on.

    \b
    ctfgan sample runs/mine --class A --class B -n 8 --out sheet.png
    ctfgan sample runs/mine --all-classes -n 100 --out more
    ctfgan sample runs/mine --all-classes -n 100 --out shards --format parquet
    ctfgan sample runs/mine --balance-with photos --out missing
    ctfgan sample runs/mine --all-classes -n 100 --keep-readable --out readable
    ctfgan evaluate runs/mine --cas        do such images help a classifier?

    A set holds exactly -n images of each class, or what --balance-with finds missing. The same command goes on with a
    set that was interrupted, and makes again what is missing. An image depends on model, class, number and seed alone:
    a larger -n makes the same ones and more, and a sheet shows the first ones of a set.

    With --keep-readable an image is drawn anew until the run's recogniser reads it as its class, which needs the run
    folder. An image that never is, is left out: the set has fewer images of hard classes, a sheet leaves the place
    blank. What is kept is easier to read than what real images look like: 'ctfgan evaluate --keep-readable' says what
    that costs.

    manifest.json says what was made of what. 'ctfgan train --hq' and 'ctfgan data check' read a set in every format;
    the Hugging Face 'datasets' read it too, 'webdataset' its tar files.
    """
    is_sheet = out is None or out.suffix.lower() == ".png"
    if all_classes and classes:
        raise click.UsageError("--all-classes and --class contradict each other; leave one of them out")
    if is_sheet and (form or real or dry_run):
        option = "--format" if form else "--balance-with" if real else "--dry-run"
        raise click.UsageError(
            f"{option} is for a set of samples and {out or SHEET} is a sheet; name a folder with --out"
        )

    check_readable(keep_readable, top_k, tries)

    import numpy as np

    from ctfgan.cli import console
    from ctfgan.distributed.engine import start_engine
    from ctfgan.metrics.settings import USUAL_TRIES
    from ctfgan.sampling.model import load
    from ctfgan.sampling.own_images import read_own_images
    from ctfgan.sampling.plan import readable_classes
    from ctfgan.sampling.rejection import Rejections

    engine = start_engine(device)
    on_main = engine.processes.on_main
    place = Path(on_main(lambda: _output(out, is_sheet=is_sheet)))
    loaded = load(model, engine=engine)
    names = list(dict.fromkeys(classes)) or None
    if is_sheet:
        names = sheet_classes(loaded, names, count or SHEET_COUNT, all_classes=all_classes)
    sampler = None
    if keep_readable:
        sampler = loaded.rejection_sampler(model, top_k or 1, tries or USUAL_TRIES)
        names, note = readable_classes(loaded, names, sampler)
        if note:
            console.say(f"note: {note}")
    own = read_own_images(loaded, low_quality) if low_quality else None
    images = None if own is None else own.pixels
    for note in own.notes if own is not None else ():
        console.say(f"note: {note}")
    if not is_sheet:
        plan = _plan(loaded, names, count, real)
        _make_set(loaded, plan, form or "folders", seed, images, sampler, place, dry_run=dry_run)
        return
    count = count or SHEET_COUNT
    plan = _plan(loaded, names, count, None)
    kept = loaded.kept_images(loaded.first_images(names, count), sampler, seed=seed, low_quality=images)
    sheet = on_main(lambda: _write_sheet(kept.images, plan.classes, count, place))
    of = len(plan.classes)
    kinds = f" of {plural(of, 'class', 'classes')}" if loaded.bundle.recipe.method.is_conditional else ""
    console.say(f"{plural(int((kept.tries > 0).sum()), 'image')}{kinds}: {sheet}")
    if sampler is not None:
        places = np.arange(of).repeat(count)
        console.say(Rejections.count(plan.classes, places, kept.tries, sampler.tries).sentence())
    if names is not None and not classes:
        console.say(
            f"These {of:,} of {len(loaded.classes):,} classes are spread evenly over all; choose others with --class, "
            "or make a set of all with --all-classes --out DIR"
        )


def _output(out: Path | None, *, is_sheet: bool) -> str:
    """Where a sheet goes, or a set, which may be there in part already."""
    from ctfgan.sampling.sets import check_set_folder

    if out is None or is_sheet:
        return str(free_output(out, SHEET))
    check_image_name(out)
    check_set_folder(out)
    return str(out)


def sheet_classes(model: Model, names: list[str] | None, count: int, *, all_classes: bool) -> list[str] | None:
    """Classes of a sheet with ``count`` images of each: the named ones, all if they are few, else some of all.

    These are as many as a sheet of training has, spread as evenly. None stands for all.

    Raises:
        ConfigError: the sheet would be too large.
    """
    from ctfgan.sampling.sheets import check_sheet, columns_that_fit
    from ctfgan.training.validation import spread_evenly

    recipe, side = model.bundle.recipe, model.bundle.recipe.data.resolution
    if names is None and not all_classes and recipe.method.is_conditional:
        most = columns_that_fit(min(recipe.training.checks.sheet_classes, len(model.classes)), count, side)
        if most < len(model.classes):
            names = [model.classes[label] for label in spread_evenly(len(model.classes), most)]
    everything = len(model.classes) if recipe.method.is_conditional else 1
    check_sheet(everything if names is None else len(names), count, side)
    return names


def _write_sheet(images: Bytes, headings: Sequence[str], count: int, out: Path) -> str:
    """A sheet with one column per class; returns where it is, as :func:`write_new` does."""
    from ctfgan.data.images import png
    from ctfgan.sampling.sheets import sheet_of_columns

    return str(write_new(out, png(sheet_of_columns(images, count, headings))))


def _plan(model: Model, classes: list[str] | None, count: int | None, real: str | None) -> SamplePlan:
    """How many images of which class; with real images to balance with, it is said how many of these there are."""
    from ctfgan.cli.console import say
    from ctfgan.data.sources.registry import open_source
    from ctfgan.sampling.plan import plan, plan_balanced

    if real is None:
        return plan(model, classes, count or SHEET_COUNT)
    balanced = plan_balanced(model, classes, open_source(real), count)
    balance = balanced.balance
    assert balance is not None, "it is balanced with real images"
    numbers, full = balance.real, int((balanced.counts == 0).sum())
    say(
        f"{balance.source}: {numbers.sum():,} real images of {len(numbers):,} classes, {numbers.min():,} to "
        f"{numbers.max():,} each, to be filled up to {balance.target:,} each ({full:,} full already)"
    )
    for note in balance.notes:
        say(f"  {note}")
    return balanced


def _make_set(
    model: Model,
    plan: SamplePlan,
    form: str,
    seed: int,
    low_quality: Bytes | None,
    sampler: RejectionSampler | None,
    out: Path,
    *,
    dry_run: bool,
) -> None:
    """Say what is to be made, make it, say what there is now."""
    from ctfgan.cli.console import progress, say
    from ctfgan.sampling.sets import layout_for, write_set

    if plan.total == 0:
        say("nothing to make: no class lacks an image")
        return
    layout = layout_for(model, plan, form, seed)
    _say_size(layout, out, "" if sampler is None else "up to ")
    if dry_run:
        return
    result = write_set(
        model,
        layout,
        out,
        low_quality=low_quality,
        sampler=sampler,
        progress=progress,
        on_estimate=lambda seconds, size: say(f"about {duration(seconds)} left; about {format_bytes(size)} in the end"),
    )
    if result.rejections is not None:
        say(result.rejections.sentence())
    if result.made == 0:
        say(f"{out} is complete already: {plural(result.images, 'image')}")
        return
    there = f" ({result.images - result.made:,} were there already)" if result.made < result.images else ""
    name = shlex.quote(str(out))
    say(
        f"{plural(result.images, 'image')}{there}, {format_bytes(result.bytes)}: {out}. Look at them with "
        f"'ctfgan data check {name}'"
    )


def _say_size(layout: Layout, out: Path, up_to: str) -> None:
    from ctfgan.cli.console import say

    counts = layout.plan.counts[layout.plan.counts > 0]
    each = f"{counts.min():,} each" if counts.min() == counts.max() else f"{counts.min():,} to {counts.max():,} each"
    say(
        f"{out}: {up_to}{plural(layout.plan.total, 'image')} of {plural(len(counts), 'class', 'classes')}, {each}, "
        f"as {layout.name}"
    )
    disk = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    say(f"  at most {format_bytes(layout.most_bytes())} on disk, {format_bytes(shutil.disk_usage(disk).free)} are free")
