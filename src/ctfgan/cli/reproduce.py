"""``ctfgan reproduce``."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import click

from ctfgan.cli.options import PATH
from ctfgan.core.errors import ConfigError, CtfganError, pick


@click.command()
@click.argument("table", metavar="TABLE")
@click.option("--profile", default="cpu", show_default=True, metavar="smoke|cpu|gpu|full",
              help="How large: see below.")  # fmt: skip
@click.option("--data", "data", multiple=True, metavar="NAME=PATH",
              help="Where a published data set lies, or what stands in its place; may be repeated. Without it: where "
              "'ctfgan data fetch' puts it.")  # fmt: skip
@click.option(
    "--only", "sections", multiple=True, metavar="SECTION", help="One data set of the table; may be repeated."
)
@click.option("--seeds", type=click.IntRange(min=1), metavar="N", help="Runs of each row; by profile without it.")
@click.option("--extractor", "plugins", multiple=True, metavar="FILE", type=PATH,
              help="Also measure with a plug-in, as in 'ctfgan evaluate'; may be repeated.")  # fmt: skip
@click.option("--inception", is_flag=True, help="Also measure with the published Inception (downloads its weights).")
@click.option("--inception-weights", metavar="FILE", type=PATH,
              help="The same with weights that are here.")  # fmt: skip
@click.option("--out", metavar="DIR", type=PATH,
              help="Folder of runs and report; reproduced/<table>-<profile> without it.")  # fmt: skip
@click.option("--device", metavar="NAME", help="auto, cpu, cuda, cuda:1 or mps.")
@click.option("--dry-run", is_flag=True, help="List the cells and what is missing, then stop.")
def reproduce(
    table: str,
    profile: str,
    data: tuple[str, ...],
    sections: tuple[str, ...],
    seeds: int | None,
    plugins: tuple[Path, ...],
    inception: bool,
    inception_weights: Path | None,
    out: Path | None,
    device: str | None,
    dry_run: bool,
) -> None:
    """Reproduce TABLE (table1, table2, table3 or fig1): train what is missing, resume, evaluate, report.

    The same command again goes on where it stopped. Profiles: smoke takes seconds a cell and means nothing; cpu fits
    90 minutes on two cores with reduced networks; gpu is meant for half an hour on one large GPU; full is the published
    schedule.

    \b
    ctfgan reproduce table1 --profile cpu --data cifar10=cifar-10-batches-bin
    ctfgan reproduce table2 --profile cpu --data hwdb1.0=characters.npz --data mnist=mnist.npz --only hwdb
    """
    from ctfgan.cli import console
    from ctfgan.evaluation import load_extractors
    from ctfgan.evaluation.campaign import check_campaign, run_campaign
    from ctfgan.evaluation.reproduction import plan_table
    from ctfgan.evaluation.table_profiles import PROFILES
    from ctfgan.evaluation.table_rows import TABLES
    from ctfgan.reports.csv_rows import write_csv
    from ctfgan.reports.document import write_document
    from ctfgan.reports.run_results import run_outcome
    from ctfgan.reports.table_report import earlier, table_report, table_rows

    plan = plan_table(
        pick(TABLES, table, "table"), pick(PROFILES, profile, "profile"), _places(data),
        seeds=seeds, sections=sections, device=device,
    )  # fmt: skip
    folder = out or Path("reproduced", f"{table}-{profile}")
    cells = plan.runnable()
    check_campaign(cells, folder)
    for sentence in (*plan.stand_ins.values(), *(f"not run: {reason}" for reason in plan.missing.values())):
        console.say(sentence)
    console.say(f"{plan.table.title}, profile {profile} ({plan.profile.note}): {len(cells)} of {len(plan.runs)} cells")
    if dry_run:
        for cell in cells:
            console.say(f"  {cell.name}: {cell.row.label}")
        return

    extractors = load_extractors(
        plugins, inception=inception, inception_weights=inception_weights, device=device or "auto"
    )
    command = shlex.join(["ctfgan", *sys.argv[1:]])
    outcomes = earlier(plan, folder)
    failed = 0
    with console.callbacks() as callbacks:
        for cell, outcome in zip(cells, run_campaign(cells, folder, callbacks, extractors), strict=True):
            outcomes.append(run_outcome(cell, outcome))
            failed += outcome.why_not is not None
            folder.mkdir(parents=True, exist_ok=True)
            report = write_document(table_report(plan, outcomes, command), folder, "report")
            write_csv(folder / "report.csv", table_rows(plan, outcomes))
    console.say(f"\nreport: {report[0]} and {report[1]}, a line for each run: {folder / 'report.csv'}")
    if failed:
        raise CtfganError(f"{failed} of {len(cells)} cells failed; the report says why")


def _places(texts: tuple[str, ...]) -> dict[str, str]:
    places: dict[str, str] = {}
    for text in texts:
        name, _, path = text.partition("=")
        if not path:
            raise ConfigError(f"--data {text!r} names no path; write --data NAME=PATH")
        if name in places:
            raise ConfigError(f"--data names {name!r} twice ({places[name]} and {path}); give one place")
        places[name] = path
    return places
