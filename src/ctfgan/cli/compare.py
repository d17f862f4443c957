"""``ctfgan compare``."""

from __future__ import annotations

from pathlib import Path

import click

from ctfgan.cli.options import PATH, check_output, free_output, write_new

PLOT = "compare.png"


@click.command()
@click.argument("runs", nargs=-1, required=True, metavar="RUN...", type=PATH)
@click.option("--out", metavar="PNG", type=PATH,
              help=f"The plot [default: {PLOT}, or the next free name].")  # fmt: skip
@click.option("--csv", "table_file", metavar="CSV", type=PATH,
              help="Also write a line for each run, or add lines to a table that was written so before.")  # fmt: skip
def compare(runs: tuple[Path, ...], out: Path | None, table_file: Path | None) -> None:
    """Show runs side by side: images, steps, seconds and figures as a table, distances as a plot.

    Notes say where runs do not compare: other real images, another recogniser, another number of samples. Figures are
    those of 'ctfgan evaluate'; a run without any shows what its checks found. A second table shows the checks at equal
    generator steps and after equal seconds of training, and what each run needs to come to the baseline's last
    distance. The baseline is the first run of SN-GAN + Projection, else of another method without low-quality images,
    else the first one.

    \b
    ctfgan compare runs/mine runs/baseline
    ctfgan compare runs/* --out all.png --csv all.csv
    """
    from ctfgan.storage.run_folder import RunFolder

    for run in runs:
        RunFolder.begun(run)  # a misspelt run must not wait for torch
    from ctfgan.cli import console
    from ctfgan.reports.comparison import HEADINGS, RunGroup, plot, table, warnings
    from ctfgan.reports.comparison import compare as compare_groups
    from ctfgan.reports.csv_rows import add_to_csv, csv_rows, read_csv
    from ctfgan.reports.run_results import read_run, run_names

    results = [read_run(run) for run in runs]
    console.print_table(HEADINGS, table(results))
    for warning in warnings(results):
        console.say(f"note: not comparable: {warning}")
    comparison, notes = compare_groups(
        [RunGroup(name, (run,)) for name, run in zip(run_names(results), results, strict=True)]
    )
    if comparison is not None:
        console.say("")
        console.print_table(comparison.headings(), comparison.rows())
        console.say(comparison.sentence())
    for note in notes:
        console.say(f"note: {note}")
    # After the tables: nobody should lose these for a name that is taken.
    place = free_output(out, PLOT)
    if table_file is not None and read_csv(table_file) is None:
        check_output(table_file, "--csv")
    console.say(f"plot: {write_new(place, plot(results))}")
    if table_file is not None:
        add_to_csv(table_file, csv_rows(results, comparison))
        console.say(f"table: {table_file}")
