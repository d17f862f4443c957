"""The set of samples that ``ctfgan sample --out DIR`` makes: its plan said, its making shown."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

from ctfgan.cli.console import progress, say
from ctfgan.cli.sample import SHEET_COUNT
from ctfgan.core.text import duration, format_bytes, plural
from ctfgan.data.images import Bytes
from ctfgan.data.sources.registry import open_source
from ctfgan.sampling.layouts import Layout
from ctfgan.sampling.model import Model
from ctfgan.sampling.plan import Plan, plan, plan_balanced
from ctfgan.sampling.sets import layout_for, write_set


def make_set(
    model: Model,
    classes: list[str] | None,
    count: int | None,
    real: str | None,
    seed: int,
    low_quality: Bytes | None,
    out: Path,
    form: str,
    *,
    dry_run: bool,
) -> None:
    """Say what is to be made, make it, say what there is now.

    Args:
        model: the generator.
        classes: class names; None for all.
        count: images of each class, or real and generated ones together; None for the default.
        real: real images to balance with; None for the same number of every class.
        seed: of the set.
        low_quality: own low-quality images, or None.
        out: the set's folder.
        form: folders, parquet or webdataset.
        dry_run: whether to stop after saying.
    """
    if real is None:
        wanted = plan(model, classes, count or SHEET_COUNT)
    else:
        wanted = plan_balanced(model, classes, open_source(real), count)
    if wanted.total == 0:
        _say_balance(wanted)
        say("nothing to make: no class lacks an image")
        return
    layout = layout_for(model, wanted, form, seed)
    _say_plan(layout, out)
    if dry_run:
        return
    told = write_set(
        model,
        layout,
        out,
        low_quality=low_quality,
        progress=progress,
        on_estimate=lambda seconds, size: say(f"about {duration(seconds)} left; about {format_bytes(size)} in the end"),
    )
    name = shlex.quote(str(out))
    if told.made == 0:
        say(f"{out} is complete already: {told.images:,} images, every file as it was written")
        return
    there = f" ({told.images - told.made:,} were there already)" if told.made < told.images else ""
    written = f"{plural(told.images, 'image')}{there}, {format_bytes(told.bytes)}"
    say(f"{written}: {out}. Look at them with 'ctfgan data check {name}'")


def _say_plan(layout: Layout, out: Path) -> None:
    wanted = layout.plan
    _say_balance(wanted)
    made = wanted.counts[wanted.counts > 0]
    spread = f"{made.min():,} each" if made.min() == made.max() else f"{made.min():,} to {made.max():,} each"
    say(
        f"{out}: {plural(wanted.total, 'image')} of {plural(len(made), 'class', 'classes')}, {spread}, as {layout.name}"
    )
    place = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    say(
        f"  at most {format_bytes(layout.most_bytes())} on disk, {format_bytes(shutil.disk_usage(place).free)} are free"
    )


def _say_balance(wanted: Plan) -> None:
    balance = wanted.balance
    if balance is None:
        return
    real, full = balance.real, int((wanted.counts == 0).sum())
    say(
        f"{balance.source}: {real.sum():,} real images of {len(real):,} classes, {real.min():,} to {real.max():,} "
        f"each, to be filled up to {balance.target:,} each ({full:,} full already)"
    )
    for note in balance.notes:
        say(f"  {note}")
