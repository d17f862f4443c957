"""``ctfgan bench``: measure speed."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ctfgan.cli.options import DEVICE

if TYPE_CHECKING:
    from ctfgan.bench.report import Report

AGAINST = "reference"


@click.group()
def bench() -> None:
    """Measure speed, on data of noise: nothing is read, nothing is trained that stays."""


@bench.command()
@click.argument("recipe", default="table1-cifar10-projection")
@click.option("--batch", type=click.IntRange(min=2), metavar="N", help="Batch size in place of the recipe's.")
@click.option("--steps", type=click.IntRange(min=1), default=5, show_default=True, metavar="N",
              help="Timed steps; of a comparison, rounds in which everybody has a turn.")  # fmt: skip
@click.option("--calls", type=click.IntRange(min=1), default=1, show_default=True, metavar="K",
              help="Of a comparison: steps in a turn.")  # fmt: skip
@click.option("--width", type=click.FloatRange(0, 4, min_open=True), metavar="FACTOR",
              help="Both networks' factor on the published channel counts, in place of the recipe's.")  # fmt: skip
@click.option("--classes", type=click.IntRange(min=2), default=10, show_default=True, metavar="N",
              help="Classes of the noise.")  # fmt: skip
@click.option("--against", type=click.Choice([AGAINST]),
              help="Only compare with a plain PyTorch implementation (bench/plain.py), turn by turn.")  # fmt: skip
@click.option("--compare", "others", metavar="A,B,...",
              help="Only compare with other recipes, turn by turn; RECIPE:STAGE names one stage.")  # fmt: skip
@DEVICE
@click.option("--json", "out", metavar="FILE", type=click.Path(path_type=Path), help="Write all figures as JSON, too.")
def step(
    recipe: str,
    batch: int | None,
    steps: int,
    calls: int,
    width: float | None,
    classes: int,
    against: str | None,
    others: str | None,
    device: str,
    out: Path | None,
) -> None:
    """Time the training steps of RECIPE and count their work: all stages, or the one of RECIPE:STAGE.

    \b
    ctfgan bench step
    ctfgan bench step --against reference
    ctfgan bench step table1-cifar10-projection --compare table1-cifar10-entire
    ctfgan bench step ctf-folders:generate --width 0.5 --json step.json
    """
    from ctfgan.bench.report import Options, compare, compare_with_plain, measure
    from ctfgan.cli.output import check_output
    from ctfgan.core.errors import ConfigError

    if against and others:
        raise ConfigError("--against and --compare are two different questions; ask one at a time")
    if out is not None:
        check_output(out, "--json")
    options = Options(batch, steps, calls, width, classes, device)
    if against:
        report = compare_with_plain(recipe, options)
    elif others:
        report = compare([recipe, *others.split(",")], options)
    else:
        report = measure(recipe, options)
    _show(report, out)


@bench.command()
@click.option("--counts", default="10,1000,3755,10000,100000,1000000", show_default=True, metavar="N,N,...",
              help="Numbers of classes.")  # fmt: skip
@click.option("--steps", type=click.IntRange(min=1), default=30, show_default=True, metavar="N",
              help="Rounds in which every number has a turn.")  # fmt: skip
@click.option("--calls", type=click.IntRange(min=1), default=4, show_default=True, metavar="K", help="Steps in a turn.")
@click.option("--folder", type=click.Path(path_type=Path), metavar="DIR",
              help="Where packed images are made and stay, about 1 GB each; else a temporary folder.")  # fmt: skip
@click.option("--set", "assignments", multiple=True, metavar="NAME=VALUE",
              help="Change one setting, e.g. --set class_tables=per-class; may be repeated.")  # fmt: skip
@click.option("--plot", metavar="FILE.png", type=click.Path(path_type=Path), help="Draw the figures, too.")
@click.option("--json", "out", metavar="FILE", type=click.Path(path_type=Path), help="Write all figures as JSON, too.")
def classes(
    counts: str,
    steps: int,
    calls: int,
    folder: Path | None,
    assignments: tuple[str, ...],
    plot: Path | None,
    out: Path | None,
) -> None:
    """Time, weigh and start every stage with few and with very many classes: CTF-GAN's two, and the baseline's.

    Networks read class codes for every number of classes, unless --set says otherwise.

    \b
    ctfgan bench classes --plot classes.png
    ctfgan bench classes --counts 10,1000 --steps 5
    ctfgan bench classes --counts 10,1000,10000 --set class_tables=per-class
    """
    from ctfgan.bench.classes import class_report, measure_classes
    from ctfgan.cli import show
    from ctfgan.cli.output import check_output
    from ctfgan.core.errors import ConfigError
    from ctfgan.core.files import write_file
    from ctfgan.reports.costs import class_plot

    for file, option in ((plot, "--plot"), (out, "--json")):
        if file is not None:
            check_output(file, option)
    try:
        numbers = [int(text.replace("_", "")) for text in counts.split(",")]
    except ValueError as error:
        raise ConfigError(f"--counts is {counts!r}; give whole numbers with commas between them") from error
    settings = ("class_tables=codes", *assignments)
    with tempfile.TemporaryDirectory(prefix="ctfgan-bench-") as temporary:
        costs, device = measure_classes(numbers, folder or Path(temporary), steps, calls, settings, show.progress)
    _show(class_report(costs, device, settings), out)
    if plot is not None:
        write_file(plot, class_plot(costs))
        show.say(f"\nplot: {plot}")


def _show(report: Report, out: Path | None) -> None:
    from ctfgan.cli import show
    from ctfgan.core.files import write_file

    show.say(report.heading)
    for table in report.tables:
        show.say("")
        show.print_table(table.headings, table.rows)
    for note in report.notes:
        show.say(f"\n{note}")
    if out is not None:
        write_file(out, report.to_json().encode())
        show.say(f"\nfigures: {out}")
