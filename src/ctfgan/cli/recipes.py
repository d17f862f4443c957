"""``ctfgan recipes``."""

from __future__ import annotations

import click


@click.command()
def recipes() -> None:
    """List the named recipes; 'ctfgan train --recipe NAME --dry-run' shows one in full."""
    from ctfgan.cli.show import print_table
    from ctfgan.recipes.catalogue import RECIPES

    print_table(("recipe", "for"), [(name, (make.__doc__ or "").splitlines()[0]) for name, make in RECIPES.items()])
