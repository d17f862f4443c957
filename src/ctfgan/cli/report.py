"""``ctfgan report``."""

from __future__ import annotations

from pathlib import Path

import click

from ctfgan.cli.options import PATH, check_output, check_writable
from ctfgan.core.errors import ConfigError
from ctfgan.core.text import format_bytes


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=PATH)
@click.option("--out", metavar="HTML", type=PATH,
              help="The page; RUN/report.html without it, or report.html here for several runs.")  # fmt: skip
@click.option("--images", default=4_000, show_default=True, metavar="N", type=click.IntRange(min=100),
              help="Generated images that the table of classes is measured on, about.")  # fmt: skip
@click.option("--device", default="auto", show_default=True, metavar="NAME", help="Where images are made.")
def report(runs: tuple[Path, ...], out: Path | None, images: int, device: str) -> None:
    """Write one HTML page about RUN, finished or not: data, samples, curves, figures, classes, CTF maps, recipe.

    The page needs nothing else and can be sent around. An older report at its place is replaced, any other file is
    not. Several runs share a page, side by side first.

    \b
    ctfgan report runs/mine
    ctfgan report runs/mine runs/baseline --out both.html
    """
    from ctfgan.storage.run_folder import RunFolder

    for run in runs:
        RunFolder.begun(run)  # a misspelt run must not wait for torch
    from ctfgan.cli import console
    from ctfgan.distributed.engine import choose_device
    from ctfgan.reports.run_page import ReportOptions, is_report, read_runs, write_report
    from ctfgan.runs.context import Callbacks

    summaries = read_runs(runs)
    place = out or (runs[0] / "report.html" if len(runs) == 1 else Path("report.html"))
    if place.suffix.lower() not in {".html", ".htm"}:
        raise ConfigError(f"{place} does not end in .html; the report is one HTML page, name it so")
    if not is_report(place):
        check_output(place)
    check_writable(place.absolute().parent)
    choose_device(device)  # a misspelt device must not turn into a page without pictures
    options = ReportOptions(images, device)
    write_report(summaries, options, place, Callbacks(progress=console.progress, say=console.say))
    console.say(f"report: {place} ({format_bytes(place.stat().st_size)})")
