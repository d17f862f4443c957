"""``ctfgan resume``."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
def resume(run: Path) -> None:
    """Continue RUN from its newest checkpoint, bit for bit on the same device and number of threads."""
    from ctfgan.cli import show
    from ctfgan.runs import resume as resume_run

    path = resume_run(run, show.watch())
    show.say(f"done: {path}. Next: ctfgan evaluate {path}   or   ctfgan sample {path} --out grid.png")
