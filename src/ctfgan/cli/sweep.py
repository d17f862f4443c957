"""``ctfgan sweep``."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import click

from ctfgan.cli.options import PATH
from ctfgan.core.errors import ConfigError, CtfganError
from ctfgan.core.files import write_file
from ctfgan.core.text import plural


@click.command()
@click.argument("name", required=False, metavar="[hq-fraction|lq-share|ablations]")
@click.option("--vary", "varied", multiple=True, metavar="SETTING=V1,V2,...",
              help="Instead of a named sweep: a setting and its values; a second one makes lines.")  # fmt: skip
@click.option("--recipe", metavar="NAME", help="The ctf-gan recipe to start from.")
@click.option("--hq", metavar="PATH", help="High-quality images, as in 'ctfgan train'; without it the embedded glyphs.")
@click.option("--lq", metavar="PATH", help="Low-quality images; without it degraded copies.")
@click.option("--set", "assignments", multiple=True, metavar="NAME=VALUE", help="Change one setting of all runs.")
@click.option("--seeds", default=1, show_default=True, type=click.IntRange(min=1), help="Runs of each point.")
@click.option("--out", metavar="DIR", type=PATH,
              help="Folder of runs, plot and report; sweeps/<name> without it.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="List the runs, then stop.")
def sweep(
    name: str | None,
    varied: tuple[str, ...],
    recipe: str | None,
    hq: str | None,
    lq: str | None,
    assignments: tuple[str, ...],
    seeds: int,
    out: Path | None,
    dry_run: bool,
) -> None:
    """Train and measure a series of runs, draw one plot, and write a report and a line of data (CSV) for each run.

    hq-fraction: 100 to 10 % of the good images, beside the baseline. lq-share: none to four cheap images for each good
    one, of its class and of any. ablations: without self-supervision, features shuffled or zeroed, pairing. The same
    command again goes on where it stopped.

    \b
    ctfgan sweep hq-fraction --hq scans --seeds 3
    ctfgan sweep --vary data.degradation.size=4,8,16 --vary data.pairing=matched,independent --hq scans
    """
    from ctfgan.cli import console
    from ctfgan.data.sources.registry import absolute
    from ctfgan.evaluation.campaign import check_campaign, run_campaign
    from ctfgan.evaluation.sweeps import plan_sweep, vary
    from ctfgan.recipes.catalogue import DEFAULT, DEFAULT_FOR_OWN_IMAGES, named_recipe
    from ctfgan.recipes.overlay import with_settings
    from ctfgan.reports.comparison import compare
    from ctfgan.reports.csv_rows import csv_rows, write_csv
    from ctfgan.reports.document import write_document
    from ctfgan.reports.run_results import run_outcome
    from ctfgan.reports.sweep_report import PointOutcome, plot, run_groups, sweep_report

    if (name is None) == (not varied):
        raise click.UsageError("name a sweep (hq-fraction, lq-share, ablations), or settings with --vary, not both")
    places = {"data.high_quality": hq and absolute(hq), "data.low_quality": lq and absolute(lq)}
    base = named_recipe(recipe or (DEFAULT_FOR_OWN_IMAGES if hq else DEFAULT))
    base = with_settings(base, {key: value for key, value in places.items() if value}, assignments)
    plan = plan_sweep(name, base, seeds) if name else vary(base, [_values(text) for text in varied], seeds)
    folder = out or Path("sweeps", plan.name)
    check_campaign(plan.points, folder)
    console.say(f"sweep {plan.name}: {plural(len(plan.points), 'run')} into {folder}")
    if dry_run:
        for point in plan.points:
            console.say(f"  {point.name}")
        return
    outcomes: list[PointOutcome] = []
    picture = folder / "sweep.png"
    command = shlex.join(["ctfgan", *sys.argv[1:]])
    with console.callbacks() as callbacks:
        for point, outcome in zip(plan.points, run_campaign(plan.points, folder, callbacks), strict=True):
            outcomes.append(run_outcome(point, outcome))
            if any(one.result for one in outcomes):
                write_file(picture, plot(plan, outcomes))
                report = write_document(sweep_report(plan, outcomes, picture, command), folder, "report")
                results = [one.result for one in outcomes if one.result]
                write_csv(folder / "report.csv", csv_rows(results, compare(run_groups(outcomes))[0]))
    failed = sum(1 for one in outcomes if one.why_not)
    if failed == len(outcomes):
        raise CtfganError(f"no run of the sweep could be made: {outcomes[0].why_not}")
    console.say(f"\nplot: {picture}; report: {report[0]} and {report[1]}, a line for each run: {folder / 'report.csv'}")
    if failed:
        raise CtfganError(f"{failed} of {len(outcomes)} runs failed; the report says why")


def _values(text: str) -> tuple[str, tuple[str, ...]]:
    name, _, values = text.partition("=")
    if not values:
        raise ConfigError(f"--vary {text!r} has no values; write --vary NAME=V1,V2,...")
    return name.strip(), tuple(value.strip() for value in values.split(","))
