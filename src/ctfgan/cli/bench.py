"""``ctfgan bench``: measure speed."""

from __future__ import annotations

from pathlib import Path

import click

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
@click.option("--device", metavar="NAME", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 or mps.")
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
    from ctfgan.cli import show
    from ctfgan.cli.output import check_output
    from ctfgan.errors import ConfigError
    from ctfgan.files import write_file

    if against and others:
        raise ConfigError("--against and --compare are two different questions; ask one at a time")
    if out is not None:
        check_output(out)
    options = Options(batch, steps, calls, width, classes, device)
    if against:
        report = compare_with_plain(recipe, options)
    elif others:
        report = compare([recipe, *others.split(",")], options)
    else:
        report = measure(recipe, options)
    show.say(report.heading)
    for table in report.tables:
        show.say("")
        show.print_table(table.headings, table.rows)
    for note in report.notes:
        show.say(f"\n{note}")
    if out is not None:
        write_file(out, report.to_json().encode())
        show.say(f"\nfigures: {out}")
