"""``ctfgan recipes``."""

from __future__ import annotations

import click


@click.command()
@click.argument("name", required=False)
def recipes(name: str | None) -> None:
    """List the named recipes, or show all settings of recipe NAME.

    A recipe is where 'ctfgan train' starts from; --set and --config change single settings of it.

    \b
    ctfgan recipes
    ctfgan recipes ctf-folders
    ctfgan train --recipe ctf-folders --hq photos --set generate.steps=20000
    """
    from ctfgan.cli.console import print_table, say
    from ctfgan.recipes.catalogue import RECIPES, named_recipe

    if name is not None:
        say(named_recipe(name).to_json())
        return
    print_table(("recipe", "for"), [(name, (make.__doc__ or "").splitlines()[0]) for name, make in RECIPES.items()])
