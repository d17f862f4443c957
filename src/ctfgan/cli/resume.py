"""``ctfgan resume``."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--device", metavar="NAME", help="Another device than the run's recipe names.")
def resume(run: Path, device: str | None) -> None:
    """Continue RUN from its newest checkpoint; on a CPU with the same number of threads, bit for bit."""
    from ctfgan.cli import show
    from ctfgan.runs import resume as resume_run

    with show.watch() as watch:
        path = resume_run(run, watch, device)
    show.say_done(path)
