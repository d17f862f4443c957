"""``ctfgan resume``."""

from __future__ import annotations

from pathlib import Path

import click

from ctfgan.cli.options import OTHER_DEVICE


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@OTHER_DEVICE
def resume(run: Path, device: str | None) -> None:
    """Continue RUN from its newest checkpoint; on a CPU with the same number of threads, bit for bit.

    It does not matter why the run stopped: Ctrl-C, a full disk, a crash. A damaged checkpoint is named and passed over.

    \b
    ctfgan resume runs/mine
    ctfgan resume runs/mine --device cpu
    torchrun --nproc-per-node 4 -m ctfgan resume runs/mine
    """
    from ctfgan.cli import show
    from ctfgan.runs import resume as resume_run

    with show.watch() as watch:
        path = resume_run(run, watch, device)
    show.say_done(path)
