"""``ctfgan sample``."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from ctfgan.cli.options import DEVICE, SEED, free_output
from ctfgan.core.text import plural

SHEET_COUNT = 16
SHEET = "samples.png"


@click.command()
@click.argument("model", metavar="RUN_OR_BUNDLE", type=click.Path(path_type=Path))
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
@click.option("--lq", "low_quality", multiple=True, metavar="IMAGES", type=click.Path(path_type=Path),
              help="Own low-quality images, files or folders, in place of the bundle's; may be repeated.")  # fmt: skip
@click.option("--out", metavar="DIR|PNG", type=click.Path(path_type=Path),
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
    ctfgan evaluate runs/mine --cas        do such images help a classifier?

    A set holds exactly -n images of each class, or what --balance-with finds missing. The same command goes on with a
    set that was interrupted, checks one that is complete, and mends what is damaged. An image depends on model, class,
    number and seed alone: a larger -n makes the same ones and more, and a sheet shows the first ones of a set.

    manifest.json says what was made of what, with a hash of every piece. 'ctfgan train --hq' and 'ctfgan data check'
    read a set in every format; the Hugging Face 'datasets' read it too, 'webdataset' its tar files.
    """
    is_sheet = out is None or out.suffix.lower() == ".png"
    if all_classes and classes:
        raise click.UsageError("--all-classes and --class contradict each other; leave one of them out")
    if is_sheet and (form or real or dry_run):
        option = "--format" if form else "--balance-with" if real else "--dry-run"
        raise click.UsageError(
            f"{option} is for a set of samples and {out or SHEET} is a sheet; name a folder with --out"
        )

    from ctfgan.cli import console
    from ctfgan.cli.output import check_set_output, sheet_classes, write_sheet
    from ctfgan.distributed.engine import start_engine
    from ctfgan.sampling.model import load
    from ctfgan.sampling.own_images import read_own_images

    engine = start_engine(device)
    if out is not None and not is_sheet:
        engine.processes.on_main(partial(check_set_output, out))
    else:
        out = sheet = Path(engine.processes.on_main(lambda: str(free_output(out, SHEET))))
    loaded = load(model, engine=engine)
    chosen = list(dict.fromkeys(classes)) or None
    if is_sheet:
        chosen = sheet_classes(loaded, chosen, count or SHEET_COUNT, all_classes=all_classes)
    own = read_own_images(loaded, low_quality) if low_quality else None
    images = None if own is None else own.pixels
    for note in own.notes if own is not None else ():
        console.say(f"note: {note}")
    if not is_sheet:
        from ctfgan.cli.sample_set import make_set

        make_set(loaded, chosen, count, real, seed, images, out, form or "folders", dry_run=dry_run)
        return
    count = count or SHEET_COUNT
    samples = loaded.sample(chosen, count, seed=seed, low_quality=images)
    place = engine.processes.on_main(lambda: str(write_sheet(samples, count, sheet)))
    of = len(samples.images) // count
    kinds = f" of {plural(of, 'class', 'classes')}" if loaded.bundle.recipe.method.is_conditional else ""
    console.say(f"{plural(len(samples.images), 'image')}{kinds}: {place}")
    if chosen is not None and not classes:
        console.say(
            f"These {of:,} of {len(loaded.classes):,} classes are spread evenly over all; choose others with --class, "
            "or make a set of all with --all-classes --out DIR"
        )
