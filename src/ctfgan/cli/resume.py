"""``ctfgan resume``."""

from __future__ import annotations

from pathlib import Path

import click

from ctfgan.cli.options import OTHER_DEVICE, PATH


@click.command()
@click.argument("run", type=PATH)
@OTHER_DEVICE
@click.option("--set", "assignments", multiple=True, metavar="NAME=VALUE",
              help="Go on with one setting changed, e.g. --set generate.steps=20000; may be repeated.")  # fmt: skip
def resume(run: Path, device: str | None, assignments: tuple[str, ...]) -> None:
    """Continue RUN from its newest checkpoint; on a CPU with the same number of threads, bit for bit.

    It does not matter why the run stopped: Ctrl-C, a closed terminal, a full disk, a crash. A damaged checkpoint is
    named and passed over.

    --set changes the run's recipe: steps, rates, batch sizes, checks, alarms, regularisers, device, evaluation; not
    what the weights and the data hang on, such as widths, the loss, seeds or the resolution. With more steps for its
    last stage a finished run trains on. Its bundle stays until the new one is ready; its figures, which are of the old
    weights, are put aside. Rates that fall over the stage are from then on those of the longer stage.

    \b
    ctfgan resume runs/mine
    ctfgan resume runs/mine --set generate.steps=20000
    ctfgan resume runs/mine --device cpu
    torchrun --nproc-per-node 4 -m ctfgan resume runs/mine
    """
    from ctfgan.storage.run_folder import RunFolder

    RunFolder.begun(run)  # a misspelt run must not wait for torch
    from ctfgan.cli import console
    from ctfgan.runs.resumed_run import resume as resume_run

    with console.callbacks() as callbacks:
        path = resume_run(run, callbacks, device, assignments)
    console.say_done(path)
