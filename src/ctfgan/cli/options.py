"""Options that several commands share."""

from __future__ import annotations

import click

SEED = click.option("--seed", default=0, show_default=True, metavar="N", type=click.IntRange(0, 2**48 - 1),
                    help="Of noise, and of what is drawn from low-quality images.")  # fmt: skip
DEVICE = click.option("--device", default="auto", show_default=True, metavar="NAME",
                      help="auto, cpu, cuda, cuda:1 or mps.")  # fmt: skip
OTHER_DEVICE = click.option("--device", metavar="NAME", help="Another device than the run's recipe names.")
